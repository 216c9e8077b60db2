"""The built-in set of texts: 2,000 short ones that say what happens in one field of life, mostly beside something of another; the class is the first.

A text has a main clause, and three in four have a subordinate one ("while", "although", "after" ...) about another of the eight topics, before or after it.
The topic of the main clause is the class, so that which words there are tells two topics, and their order which of these is meant. A clause is an agent, an
action and a thing of its topic; each has several names, some of which belong to two topics (a bank, a court, a pitch). There are 500 meanings with four
wordings each (other names, active or passive, other conjunctions and fillers): the column `meaning` says which belong together. 400 meanings are for
training, 100 for testing. Nothing is downloaded or stored: the same texts are made on every machine in a moment.
"""

from __future__ import annotations

import functools

import numpy as np
import pyarrow as pa

from manyviews.data.dataset import Data
from manyviews.data.text import Options, opened
from manyviews.data.text_files import Found, Rows

MEANINGS, WORDINGS, TEST, ALONE, SEED = 500, 4, 100, 0.25, 20261
Names = tuple[tuple[str, ...], ...]
TOPICS: dict[str, tuple[Names, Names, Names]] = {  # agents, actions (plain and passive form side by side), things; each with its names
    "cooking": (
        (("the cook", "the chef", "the head of the kitchen"), ("the baker", "the pastry maker"), ("the guest", "the diner")),
        (("stirs", "stirred"), ("tastes", "tried"), ("heats", "warmed"), ("seasons", "spiced")),
        (("the soup", "the broth"), ("the dough", "the batter"), ("the roast", "the joint of beef"), ("the plate", "the dish")),
    ),
    "weather": (
        (("the storm", "the gale", "the tempest"), ("the frost", "the cold"), ("the rain", "the downpour")),
        (("covers", "covered"), ("batters", "beaten"), ("soaks", "drenched"), ("bends", "bent")),
        (("the valley", "the plain"), ("the coast", "the shore"), ("the bank", "the river's edge"), ("the field", "the meadow")),
    ),
    "money": (
        (("the lender", "the bank", "the creditor"), ("the broker", "the dealer"), ("the saver", "the investor")),
        (("checks", "examined"), ("raises", "increased"), ("settles", "paid"), ("moves", "transferred")),
        (("the loan", "the credit"), ("the balance", "the account"), ("the bond", "the share"), ("the interest", "the rate")),
    ),
    "sport": (
        (("the striker", "the forward"), ("the keeper", "the goalkeeper"), ("the coach", "the trainer", "the manager")),
        (("strikes", "hit"), ("catches", "caught"), ("passes", "handed on"), ("watches", "observed")),
        (("the ball", "the leather"), ("the match", "the game"), ("the pitch", "the field"), ("the court", "the ground")),
    ),
    "law": (
        (("the judge", "the court", "the bench"), ("the lawyer", "the counsel"), ("the witness", "the bystander")),
        (("hears", "heard"), ("rejects", "dismissed"), ("quotes", "cited"), ("settles", "decided")),
        (("the case", "the suit"), ("the appeal", "the plea"), ("the contract", "the bond"), ("the sentence", "the verdict")),
    ),
    "music": (
        (("the singer", "the tenor"), ("the drummer", "the percussionist"), ("the conductor", "the head of the orchestra")),
        (("plays", "performed"), ("tunes", "tuned"), ("repeats", "rehearsed"), ("raises", "lifted")),
        (("the song", "the tune"), ("the note", "the pitch"), ("the key", "the scale"), ("the score", "the sheet")),
    ),
    "travel": (
        (("the passenger", "the guest", "the traveller"), ("the pilot", "the captain"), ("the guide", "the conductor")),
        (("boards", "entered"), ("books", "reserved"), ("misses", "missed"), ("checks", "inspected")),
        (("the train", "the express"), ("the flight", "the plane"), ("the ticket", "the pass"), ("the coach", "the bus")),
    ),
    "teaching": (
        (("the teacher", "the tutor", "the coach"), ("the pupil", "the student"), ("the head", "the principal")),
        (("reads", "read"), ("explains", "explained"), ("repeats", "learned again"), ("corrects", "marked")),
        (("the sentence", "the phrase"), ("the lesson", "the class"), ("the score", "the result"), ("the test", "the exam")),
    ),
}  # fmt: skip
BEFORE = ("while", "although", "after", "because", "before", "as")
FILLERS = ("today", "once more", "at last", "as usual", "in the morning", "without a word", "for the first time", "it is said")
Random = np.random.Generator


def clause(r: Random, topic: str, parts: tuple[int, int, int]) -> str:
    """One wording of who does what to which thing."""
    agent, action, thing = (names[k] for names, k in zip(TOPICS[topic], parts, strict=True))
    who, what = (str(r.choice(names)) for names in (agent, thing))
    said = f"{who} {action[0]} {what}" if r.uniform() < 0.6 else f"{what} is {action[1]} by {who}"
    return f"{said} {r.choice(FILLERS)}" if r.uniform() < 0.4 else said


def wording(r: Random, topics: tuple[str, str], parts: tuple[tuple[int, int, int], tuple[int, int, int]], alone: bool) -> str:
    """One text of a meaning."""
    main, other = (clause(r, topic, own) for topic, own in zip(topics, parts, strict=True))
    joint = r.choice(BEFORE)
    if alone:
        text = main
    elif r.uniform() < 0.5:
        text = f"{joint} {other}, {main}"
    else:
        text = f"{main} {joint} {other}"
    return text[0].upper() + text[1:] + "."


@functools.lru_cache(maxsize=1)
def every() -> tuple[list[str], dict[str, np.ndarray]]:
    """All texts, and for each its class, its split, its meaning, and the other topic (-1: none)."""
    r = np.random.default_rng(SEED)
    names, texts, rows = list(TOPICS), [], []
    for meaning in range(MEANINGS):
        first, step = meaning % len(names), int(r.integers(1, len(names)))
        second, alone = (first + step) % len(names), bool(r.uniform() < ALONE)
        parts = tuple((int(r.integers(3)), int(r.integers(4)), int(r.integers(4))) for _ in range(2))
        for _ in range(WORDINGS):
            texts.append(wording(r, (names[first], names[second]), parts, alone))  # type: ignore[arg-type]
            rows.append((first, meaning, -1 if alone else second))
    label, meaning_, other = np.array(rows).T
    order = r.permutation(len(texts))
    split = np.where(meaning_ >= MEANINGS - TEST, "test", "train").astype(object)
    columns = {"label": label, "split": split, "meaning": meaning_, "other": other}
    return [texts[k] for k in order], {name: np.ascontiguousarray(column[order]) for name, column in columns.items()}


def builtin_text() -> Data:
    """The texts with labels and a split."""
    texts, columns = every()
    return opened(Found(Rows(pa.array(texts), "the built-in set of texts", "text"), columns, list(TOPICS)), Options())
