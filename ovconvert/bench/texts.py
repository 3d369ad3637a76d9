"""The texts that are spoken when none is given: short, medium, and three sentences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ovconvert.errors import UsageError


@dataclass(frozen=True)
class Text:
    """A text and what reports call it."""

    name: str
    text: str


SHIPPED: Mapping[str, tuple[Text, ...]] = {
    "en": (
        Text("short", "The kettle is on the stove."),
        Text("medium", "When the rain had stopped, we walked along the river and looked for a place to have lunch."),
        Text(
            "three sentences",
            "The train to the coast leaves at half past seven. Please bring a warm coat, because the evenings are cold "
            "there. If you miss it, another one follows two hours later.",
        ),
    ),
    "zh": (
        Text("short", "水壶已经放在炉子上了。"),
        Text("medium", "雨停了以后，我们沿着河边慢慢地走，想找一个安静的地方吃午饭。"),
        Text(
            "three sentences",
            "开往海边的火车早上七点半出发。晚上那里会比较冷，请记得带一件厚外套。如果没有赶上这一班，两个小时以后还有下一班。",
        ),
    ),
    "ja": (
        Text("short", "やかんはもう火にかけてあります。"),
        Text("medium", "雨がやんでから、わたしたちは川に沿って歩き、昼ごはんを食べる場所をさがしました。"),
        Text(
            "three sentences",
            "海へ行く電車は朝七時半に出ます。夜は寒くなるので、あたたかい上着を持ってきてください。乗りおくれても、二時間後に次の電車があります。",
        ),
    ),
    "es": (
        Text("short", "La tetera ya está en el fuego."),
        Text("medium", "Cuando dejó de llover, caminamos junto al río y buscamos un lugar tranquilo para comer."),
        Text(
            "three sentences",
            "El tren de la costa sale a las siete y media. Traiga un abrigo grueso, porque allí las noches son frías. Si lo "
            "pierde, hay otro dos horas más tarde.",
        ),
    ),
}


def shipped(language: str) -> tuple[Text, ...]:
    """Return the texts in `language`; "auto" is English. Raises UsageError if none are shipped."""
    texts = SHIPPED.get("en" if language == "auto" else language)
    if texts is None:
        raise UsageError(f"no texts in {language!r} are shipped (have: {', '.join(SHIPPED)}); give --text or --text-file")
    return texts


def of_file(path: Path) -> tuple[Text, ...]:
    """Return the texts in a UTF-8 file, one a line, called by their number. Raises UsageError if there are none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise UsageError(f"text file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"text file {path} is not UTF-8: byte 0x{error.object[error.start]:02x}") from error
    texts = tuple(Text(f"text {number}", line) for number, line in enumerate((line for line in lines if line), 1))
    if not texts:
        raise UsageError(f"text file {path} is empty; write one text a line")
    return texts
