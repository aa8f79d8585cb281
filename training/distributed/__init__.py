"""Work in parts: a plan of idempotent tasks over files, in processes of this machine or on Ray.

```python
# src/marquee/data/prepared/…: a function of a module, named "package.module:function"
def encode_part(out: Path, inputs: Sequence[Path], *, n_buckets: int) -> None:
    '''Writes the file or the folder `out`; it stands aside, and is renamed once it is whole.'''

with open_cluster(config.cluster) as cluster, task_progress(console) as progress:
    outcome = cluster.run("encoding", [
        Task(
            name=f"part {number}",
            function="marquee.data.prepared.encoding:encode_part",
            arguments={"n_buckets": 128},
            inputs=(partition,),
            output=prepared / "parts" / f"part-{number:05}",
        )
        for number, partition in enumerate(partitions)
    ], progress)
```

`run` returns when every task of the stage is done: what a later stage reads is there. A task whose result is
there with its receipt is skipped. `plan` has the words, `receipts` says when a result counts as done,
`work` does one task, `cluster` gives tasks to whoever does them: `local` or `ray_tasks`.
"""
