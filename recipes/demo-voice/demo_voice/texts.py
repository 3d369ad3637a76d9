"""The sentences of the demo voice: a closed domain of commands, times, weather and small talk, about 200 words.

A sentence is held out of training by its text alone: `held_out` looks at nothing else, so no speaker and no style of it
is ever heard in training.
"""

# ruff: noqa: SIM905 - two hundred quoted words read worse
from __future__ import annotations

import random  # noqa: TID251 - seeded throughout; the sentences stay the same on every machine
import zlib
from collections.abc import Callable, Iterator

DIGITS = "zero one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth twelfth twentieth thirtieth".split()
DAYS = "monday tuesday wednesday thursday friday saturday sunday".split()
MONTHS = "january february march april may june july august september october november december".split()
ROOMS = "kitchen bedroom bathroom office garage garden hallway basement".split()
DEVICES = "lights heater radio television window door camera fan".split()
NAMES = "alice bob carol david emma frank grace henry".split()
CITIES = "london paris berlin boston chicago dallas denver tokyo".split()
COLORS = "red green blue yellow orange purple white black".split()
THINGS = "coffee water bread milk apples paper flowers tickets".split()
WEATHER = "sunny cloudy rainy windy cold warm foggy stormy".split()
FEELINGS = "happy angry sad afraid surprised calm tired sorry".split()
TIMES = "today tomorrow tonight".split()
PARTS = "morning evening afternoon".split()

Draw = random.Random


def number(draw: Draw) -> str:
    """Return a number below a thousand, in words."""
    kind = draw.random()
    if kind < 0.35:
        return draw.choice(DIGITS)
    if kind < 0.55:
        return draw.choice(TEENS)
    if kind < 0.75:
        return draw.choice(TENS)
    if kind < 0.93:
        return f"{draw.choice(TENS)} {draw.choice(DIGITS[1:])}"
    return f"{draw.choice(DIGITS[1:])} hundred"


TEMPLATES: tuple[Callable[[Draw], str], ...] = (
    lambda d: f"turn {d.choice(('on', 'off'))} the {d.choice(DEVICES)} in the {d.choice(ROOMS)}",
    lambda d: f"set the {d.choice(DEVICES)} to {number(d)} percent",
    lambda d: f"call {d.choice(NAMES)} at {number(d)} {d.choice(TIMES)}",
    lambda d: f"meet {d.choice(NAMES)} on {d.choice(DAYS)} {d.choice(PARTS)}",
    lambda d: f"the train to {d.choice(CITIES)} leaves at {number(d)}",
    lambda d: f"{d.choice(MONTHS)} the {d.choice(ORDINALS)} is a {d.choice(DAYS)}",
    lambda d: f"it is {d.choice(WEATHER)} in {d.choice(CITIES)} {d.choice(TIMES)}",
    lambda d: f"buy {number(d)} {d.choice(COLORS)} {d.choice(THINGS)}",
    lambda d: " ".join(d.choice(DIGITS) for _ in range(d.randint(3, 6))),
    lambda d: f"open the {d.choice(COLORS)} {d.choice(('door', 'window', 'box', 'book'))} please",
    lambda d: f"{d.choice(NAMES)} and {d.choice(NAMES)} live in {d.choice(CITIES)}",
    lambda d: f"{number(d)} plus {number(d)} is {number(d)}",
    lambda d: f"remind {d.choice(NAMES)} to buy {d.choice(THINGS)} on {d.choice(DAYS)}",
    lambda d: f"please play the {d.choice(ORDINALS)} song for {d.choice(NAMES)}",
    lambda d: f"hello {d.choice(NAMES)} and welcome to {d.choice(CITIES)}",
    lambda d: f"good {d.choice(PARTS)} {d.choice(NAMES)} i am {d.choice(FEELINGS)} {d.choice(TIMES)}",
    lambda d: f"{d.choice(NAMES)} is very {d.choice(FEELINGS)} about the {d.choice(WEATHER)} {d.choice(PARTS)}",
    lambda d: f"this is a small voice from a small model and it is {d.choice(FEELINGS)}",
    lambda d: f"thank you {d.choice(NAMES)} for the {d.choice(COLORS)} {d.choice(THINGS)}",
)
PAIRED = 0.1  # share of utterances that are two sentences
HELD_OUT = 12  # one sentence in so many is for testing


def sentence(draw: Draw) -> str:
    """Return one sentence, lower case, words separated by single spaces."""
    return draw.choice(TEMPLATES)(draw)


def held_out(text: str) -> bool:
    """Tell whether a sentence is kept from training."""
    return zlib.crc32(text.encode()) % HELD_OUT == 0


def sentences(seed: int, *, testing: bool) -> Iterator[str]:
    """Yield texts without end: single sentences to test with, to train on also pairs, their sentences joined by '. '."""
    draw = random.Random(seed)

    def one() -> str:
        while True:
            text = sentence(draw)
            if held_out(text) == testing:
                return text

    while True:
        paired = not testing and draw.random() < PAIRED
        yield f"{one()}. {one()}" if paired else one()


def words() -> list[str]:
    """Return every word of the domain, sorted."""
    draw = random.Random(0)
    return sorted({word for _ in range(40000) for word in sentence(draw).split()})
