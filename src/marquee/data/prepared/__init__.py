"""Preparation in parts: from files of any size to arrays in buckets of users, and the same arrays back.

```
partition   a file, or some of its rows   validated, counted, parted by a hash of the user
repeated    a share of the event ids      the rows whose id an earlier row has
bucket      the users of one hash         their events, oldest first, with the names they are known by
survey      all buckets                   the moments at which a split by time parts, and ranges of names
split       a bucket                      the part of each event, and who stands in training
names       a range, or all of the items  the index of each name, as one table would give it
index       a bucket                      users and items as indices
```

Each is a function from files to files that holds no more than one of them, and may run anywhere. What is
made does not depend on how many files there were, nor on how many tasks. `folder` reads it.
"""
