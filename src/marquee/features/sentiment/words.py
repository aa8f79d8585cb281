"""English words of feedback by how much they praise (above 0) or blame (below 0), from 4 to -4.

Written for Marquee; no published list was copied. A word stands for its forms as well: see
`terms.strength_of`.
The strengths are a start: training weighs what is made of them beside the words of the texts themselves.
"""

from collections.abc import Mapping

_GROUPS: Mapping[int, str] = {
    4: """
        amazing awesome excellent exceptional extraordinary fabulous fantastic flawless incredible
        magnificent marvellous marvelous masterful masterpiece outstanding perfect perfection
        phenomenal sensational spectacular splendid stellar stunning sublime superb superior
        terrific unbeatable unforgettable wonderful wow
    """,
    3: """
        adore beautiful best blessed breathtaking brilliant captivating charming classy delectable
        delicious delight delightful divine dream ecstatic elegant enchanting enthralling excellence
        exquisite favorite favourite genius glorious gorgeous great greatest happy heaven heavenly
        hilarious impeccable impress impressed impressive incredibly inspiring joy love loved lovely
        loving luscious memorable mesmerizing must-have must-see outstandingly paradise pleasure
        powerful recommend recommendable recommended remarkable riveting scrumptious stunned
        superbly talented thrill thrilled touching treasure treat unique winner yay yum yummy
    """,
    2: """
        accurate admirable affordable appealing appetizing appreciate appreciative attentive
        attractive authentic award beauty bonus bright clean clear clever comfort comfortable comfy
        compelling complement compliment convenient convincing cool courteous cozy crisp cute
        dependable durable easily easy effective efficient effortless engaging engrossing enjoy
        enjoyable enjoyed enjoyment entertaining enthusiastic exciting expertly faithful fascinating fast
        flavorful flavourful fresh friendly fun funny gem generous gentle glad good handy helpful
        honest humorous imaginative improved improvement insightful inspired intelligent interesting
        intriguing inviting juicy kind legendary likable likeable lively loyal lucky neat nice
        nicely original peaceful phenomenon pleasant please pleased pleasing polished polite
        positive praise prefer prompt prompted proud quality quick realistic reasonable refreshing
        reliable resolved rewarding rich romantic satisfied satisfy satisfying savory seamless sharp
        sleek smart smile smooth snug solid sophisticated special speedy sturdy subtle success
        successful sweet tasty tender thank thankful thanks thoughtful timely top-notch tremendous
        true trust trustworthy upbeat versatile vivid warm welcome welcoming well-acted well-made
        well-written witty worked works worth worthwhile worthy
    """,
    1: """
        able acceptable adequate amuse amusing balanced capable careful cheap cheerful compact
        consistent correct decent dedicated definitely delicate enough fair family fans fine fit
        fits fitting generously genuine healthy hope hot huge important innovative large light
        lightweight like liked long-lasting moist natural new pretty priced professional properly
        ready regular reminiscent respectful right robust safe sensible simple soft stable strong
        stylish superfast sure thorough tight tops useful value variety well whoa win working
    """,
    -1: """
        average basic bit bulky cautious cheaply complicated concern costly dated difficult disagree
        doubt dry fake fat few flat flimsy generic greasy hard heavy iffy inconsistent lacking late
        limited long loose loud lukewarm meh mild missing mixed needy noisy odd ok okay old ordinary
        overly plain questionable random rough salty scratch shaky short silly simplistic slightly
        slow small so-so soggy sore stiff strange stretched stupidly tacky thin tiny tired tough
        unclear uneven unless unusual wait waited warned weird
    """,
    -2: """
        annoy annoyed annoying avoid awkward blah bland bored boring bother bothered burnt cheesy
        cliche cliched clumsy cold complain complaint complaints confuse confused confusing corny
        crap crappy crash cumbersome damage damaged dead defect defective delay deny dirty
        discomfort disconnect dislike disliked disrespect distract distracting drag dragged dropped
        dropping dull dumb empty excuse expensive fail failed fails failure fall false faulty feeble
        fell filthy flaw flawed flop forced forget forgettable freezes frustrate frustrated
        frustrating gross guess hassle hurt hurts ignore ignored impossible inaccurate
        incomprehensible inconvenient inedible inept insipid irritate irritating jerk joke junk lack
        lacks lame lazy leak lies lose loses losing lost mediocre mess messy misleading mistake
        mushy negative neglect noise nonsense numb outdated over-hyped overcooked overcrowded
        overhyped overpriced overrated pain painful pale pathetically pointless poor poorly
        predictable pretentious problem problematic problems quit rancid refuse regret repetitive
        return returned returning rip-off ripoff ripped rubber rubbery rude ruin ruined rush rushed
        sad scam scratched scratchy shallow shame shoddy sick skip sloppy sluggish smelled smelly
        sour spotty stale static sticky stinks stuck stupid sucked sucks suffer tasteless tedious
        trouble unacceptable uncomfortable undercooked underwhelmed underwhelming unfortunate
        unfortunately unfriendly unfunny unhappy unimpressive uninspired uninteresting unpleasant
        unprofessional unrealistic unrealistically unreliable unremarkable unsatisfactory
        unsatisfied unsatisfying unusable upset useless vague weak wobbly wooden worn worried wrong
    """,
    -3: """
        abysmal angry appalling atrocious awful bad badly broke broken cheated contempt cringe crude
        deplorable depressing disappoint disappointed disappointing disappointment disaster disgrace
        disgraceful disgust disgusted disgusting dreadful embarrassed embarrassing embarrassment
        garbage hate hated horrendous horrible horribly horrid horrified inexcusable insult insulted
        insulting laughable lousy ludicrous miserable nasty nauseating nightmare offensive painfully
        pathetic pitiful poisoning ridiculous rotten rubbish sickening stink suck sucker sucky
        terrible terribly torture trash ugly unbearable unwatchable vile vomit waste wasted wasting
        worse worthless wretched
    """,
    -4: """
        abomination horrific repulsive revolting worst
    """,
}

STRENGTHS: Mapping[str, int] = {
    word: strength for strength, words in _GROUPS.items() for word in words.split()
}

# As they are written without the apostrophe, which many people leave out.
_CONTRACTED = (
    "ai",
    "are",
    "ca",
    "could",
    "did",
    "does",
    "do",
    "had",
    "has",
    "have",
    "is",
    "should",
    "was",
    "were",
)

NEGATIONS = frozenset(
    (
        *(
            "barely",
            "hardly",
            "lacked",
            "lacking",
            "lacks",
            "neither",
            "never",
            "no",
            "nobody",
            "none",
            "nor",
        ),
        *("not", "nothing", "scarcely", "without"),
        *(verb + "nt" for verb in (*_CONTRACTED, "wo", "would")),
    )
)

BOOSTERS = frozenset(
    (
        *(
            "absolutely",
            "completely",
            "definitely",
            "especially",
            "extremely",
            "highly",
            "incredibly",
            "most",
        ),
        *("quite", "really", "so", "super", "too", "totally", "truly", "very"),
    )
)

TURNS = frozenset(("but", "however", "though", "although", "yet"))
