"""English sentences with a feeling, and what the emotion classifier shall answer to them.

A text is held out of training by its words alone, so all ways of writing it are held out with it.
"""

from __future__ import annotations

import json
import re
import zlib
from dataclasses import dataclass

from demo_voice import texts
from demo_voice.texts import Draw
from ovconvert.runtime.programs.indextts2.classifier import LABELS

HAPPY, ANGRY, SAD, AFRAID, DISGUSTED, MELANCHOLIC, SURPRISED, CALM = range(len(LABELS))
HELD_OUT = 10  # one text in so many is for testing

# what one may be, and what one may say without naming the feeling
ADJECTIVES: dict[int, tuple[str, ...]] = {
    HAPPY: ("happy", "glad", "joyful", "delighted", "cheerful", "pleased", "thrilled", "excited", "proud", "overjoyed"),
    ANGRY: ("angry", "furious", "mad", "annoyed", "outraged", "irritated", "enraged", "bitter", "cross", "fed up"),
    SAD: ("sad", "unhappy", "heartbroken", "sorrowful", "miserable", "lonely", "sorry", "hurt", "tearful", "grieving"),
    AFRAID: ("afraid", "scared", "frightened", "terrified", "worried", "nervous", "anxious", "fearful", "panicked"),
    DISGUSTED: ("disgusted", "revolted", "sickened", "nauseated", "repulsed", "appalled", "grossed out"),
    MELANCHOLIC: ("melancholic", "depressed", "gloomy"),
    SURPRISED: ("surprised", "amazed", "astonished", "shocked", "stunned", "startled", "speechless", "astounded"),
    CALM: ("calm", "peaceful", "relaxed", "quiet", "serene", "at ease", "tranquil", "composed", "tired"),
}
SAYINGS: dict[int, tuple[str, ...]] = {
    HAPPY: (
        *("what a wonderful day", "this is the best news", "we won the game", "i love this song", "hooray we did it"),
        *("that makes me smile", "i could dance all night", "life is beautiful", "i am so lucky", "this is great fun"),
        *("congratulations to you", "happy birthday", "i love you", "we had a fantastic time", "the joy is all mine"),
        *("this is amazing fun", "good for you", "i like it a lot", "best day ever"),
    ),
    ANGRY: (
        *("how dare you", "stop shouting at me", "leave me alone right now", "i hate this noise", "get out of my house"),
        *("this makes my blood boil", "you broke it again", "this is an outrage", "shut up", "i have had enough of this"),
        *("you lied to me", "do not touch my things", "that is so unfair", "his anger grows", "she slammed the door"),
        *("i hate you", "i am so sick of your lies", "get out of here", "you ruined it", "give it back right now"),
    ),
    SAD: (
        *("i miss my old friend", "she cried all night", "tears run down my face", "we lost everything", "my dog died"),
        *("nobody came to see me", "it breaks my heart", "i will never see you again", "there is nothing left for me"),
        *("he wept at the grave", "goodbye my love", "i feel so alone", "what a terrible loss", "her sorrow is deep"),
        *("i can not stop crying", "my grandmother died last night", "he passed away", "it hurts so much", "i want to cry"),
    ),
    AFRAID: (
        *("something is behind the door", "please do not hurt me", "run for your life", "my hands are shaking with fear"),
        *("i heard a scream in the dark", "help me", "do not leave me here alone in the dark", "there is a ghost upstairs"),
        *("someone is following us", "watch out it is dangerous", "i dare not look", "the panic rises", "he is hunting us"),
        *("you scared me", "it scares me", "i am too frightened to sleep", "what if it comes back", "do not kill me"),
    ),
    DISGUSTED: (
        *("that smells awful", "this food is rotten", "yuck what a mess", "there is mold on the bread", "how disgusting"),
        *("it makes me sick", "the milk is sour and foul", "ew take it away", "that is gross", "the sink is full of slime"),
        *("what a filthy room", "there are worms in the apple", "i want to vomit", "the stench is unbearable"),
        *("it stinks", "this is gross", "i can not eat this garbage", "it tastes like dirt", "yuck"),
    ),
    MELANCHOLIC: (
        *("a gloomy silence fills the house", "melancholy settles over the town", "depression follows me everywhere"),
        *("what a gloomy day", "the melancholy of old songs", "her depression does not lift", "a melancholic tune plays"),
        *("gloomy clouds hang over the sea", "i sink into melancholy", "he never spoke of his depression"),
        *("she has lived with depression for years", "the depression came back", "so much melancholy in her eyes"),
    ),
    SURPRISED: (
        *("oh my what is this", "i did not expect that", "wow look at this", "no way that is incredible", "really"),
        *("i can not believe my eyes", "what a surprise", "where did you come from", "you are already here", "unbelievable"),
        *("who would have thought", "that came out of nowhere", "since when do you sing", "wait what did you say"),
        *("this is amazing", "that is a shock", "i never saw that coming", "wow", "oh my god", "it can not be true"),
    ),
    CALM: (
        *("take a slow breath", "the lake is still", "everything is fine", "rest for a while", "there is no hurry"),
        *("we sit by the fire", "the meeting starts at noon", "he reads the newspaper", "the report has four pages"),
        *("she walks along the river", "the box is on the table", "the bus stops here", "my name is written there"),
        *("water boils at one hundred degrees", "the office opens at nine", "put the keys on the shelf", "let us begin"),
        *("hello", "hello there", "good morning", "good evening to you", "how are you", "thank you"),
        *("see you tomorrow", "yes"),
        *("no", "please", "okay", "of course", "my name is emma", "what time is it"),
        *("where is the station", "nice to meet you"),
    ),
}
WHO = (
    *("i am", "we are", "you are", "they are", "she is", "he is", "my mother is", "my brother is", "the teacher is"),
    *("i feel", "he looks", "she sounds", "i was", "they were", "she seems", "we feel"),
    *("the children are", "the old man is"),
)
DEGREES = {"": 0.8, "very": 1.0, "so": 1.0, "really": 1.0, "a little": 0.5, "a bit": 0.5, "quite": 0.8, "extremely": 1.0}
ABOUT = (
    *("", "", "", "today", "tonight", "again", "now", "about this", "about the letter", "because of you", "this morning"),
    *("about the weather", "when the phone rings", "at work", "in the city", "about the news", "with my friend"),
)
BEFORE = ("", "", "", "oh", "well", "listen", "you know", "look", "and then", "i say")
AFTER = ("", "", "", "today", "my friend", "again", "in the kitchen", "this evening", "at home")
# words without feeling; texts made of them, and of words that do not exist, teach that what is not known is calm
PLAIN = """
the a an this that these my your his her our their one two some many every it he she we they you i and or but with from
to of in on at for by over under near after before until is was has had will can may must does makes takes gives finds
keeps reads writes opens closes moves walks drives works lives stands comes goes says asks tells shows needs uses builds
sells buys brings man woman child teacher doctor driver dog cat horse bird fish tree river road bridge house room table
chair book paper letter phone computer car train bus street market school office city country water bread rice apple tea
coffee milk sugar salt number name word line page plan price part hour week month year monday summer winter morning
evening north south left right new old small large long short high low blue green brown white black quick slow early
late open clean fox jumps lazy here there then
""".split()  # noqa: SIM905 - a hundred quoted items read worse
CONSONANTS, VOWELS = "bcdfghjklmnprstvwz", "aeiou"
SHORT = {"i am": "i'm", "can not": "can't", "do not": "don't", "did not": "didn't", "that is": "that's", "it is": "it's"}
SPOKEN = {word: emotion for emotion, words in ADJECTIVES.items() for word in words if word in texts.FEELINGS}
# what the model is asked to answer: it never says 低落; the runtime swaps it with 悲伤 by the words of the text
ANSWERED = {MELANCHOLIC: SAD}


@dataclass(frozen=True)
class Example:
    """A text, the emotion that should come out highest, and the answer that makes it so."""

    text: str
    emotion: int  # a place in LABELS
    answer: str


def example(draw: Draw, *, testing: bool) -> Example:
    """Return a text with its answer, one that is held out if and only if `testing`."""
    while True:
        words, scores = draw.choice((_felt, _felt, _said, _said, _domain, _mixed, _plain))(draw)
        if held_out(words) == testing:
            emotion = max(scores, key=scores.__getitem__)
            return Example(_written(words, draw), emotion, _answer(scores))


def held_out(text: str) -> bool:
    """Tell whether a text is kept from training, however it is written."""
    return zlib.crc32(text.lower().strip(".!?").encode()) % HELD_OUT == 0


def _felt(draw: Draw) -> tuple[str, dict[int, float]]:
    """Return words that name one feeling."""
    emotion = draw.choice(list(ADJECTIVES))
    degree = draw.choice(list(DEGREES))
    words = (draw.choice(BEFORE), draw.choice(WHO), degree, draw.choice(ADJECTIVES[emotion]), draw.choice(ABOUT))
    return _joined(*words), {emotion: DEGREES[degree]}


def _said(draw: Draw) -> tuple[str, dict[int, float]]:
    """Return words that show one feeling."""
    emotion = draw.choice(list(SAYINGS))
    words = _joined(draw.choice(BEFORE), draw.choice(SAYINGS[emotion]), draw.choice(AFTER))
    return words, {emotion: 1.0 if emotion == CALM else 0.8}


def _mixed(draw: Draw) -> tuple[str, dict[int, float]]:
    """Return words that name two feelings, the first the stronger one."""
    first, second = draw.sample([emotion for emotion in ADJECTIVES if emotion != MELANCHOLIC], 2)
    link = draw.choice(("and also", "but also", "and a little", "and a bit"))
    words = (draw.choice(WHO), draw.choice(ADJECTIVES[first]), link, draw.choice(ADJECTIVES[second]), draw.choice(ABOUT))
    return _joined(*words), {first: 0.8, second: 0.3}


def _plain(draw: Draw) -> tuple[str, dict[int, float]]:
    """Return words that say nothing of a feeling, in no order, some of them of no language."""
    words = [draw.choice(PLAIN) if draw.random() < 0.85 else _unheard(draw) for _ in range(draw.randint(1, 9))]
    return " ".join(words), {CALM: 1.0}


def _unheard(draw: Draw) -> str:
    return "".join(draw.choice(CONSONANTS) + draw.choice(VOWELS) for _ in range(draw.randint(1, 4)))


def _domain(draw: Draw) -> tuple[str, dict[int, float]]:
    """Return a sentence of the demo voice: calm, unless it names a feeling."""
    sentence = texts.sentence(draw)
    named = [SPOKEN[word] for word in sentence.split() if word in SPOKEN]
    return sentence, ({named[0]: 1.0 if " very " in sentence else 0.8} if named else {CALM: 1.0})


def _joined(*words: str) -> str:
    return " ".join(word for word in words if word)


def _written(words: str, draw: Draw) -> str:
    """Return the words as they are, as a sentence, or in capitals; short forms and commas come and go."""
    kind = draw.random()
    if kind < 0.4:
        return words
    for whole, short in SHORT.items():
        if draw.random() < 0.5:
            words = re.sub(rf"\b{whole}\b", short, words)
    if kind > 0.92:
        return words.upper() + draw.choice(("", ".", "!"))
    words = re.sub(r"\bi\b", "I", words)
    first, space, rest = words.partition(" ")
    if first in BEFORE or draw.random() < 0.1:
        words = first + (", " if space and draw.random() < 0.7 else space) + rest
    return words[0].upper() + words[1:] + draw.choice((".", ".", "!", "?", ""))


def _answer(scores: dict[int, float]) -> str:
    return json.dumps(
        {LABELS[ANSWERED.get(emotion, emotion)]: score for emotion, score in scores.items()}, ensure_ascii=False
    )
