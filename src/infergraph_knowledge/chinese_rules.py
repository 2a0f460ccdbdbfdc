"""Find relations in Chinese sentences by patterns over masked entities.

    text, spans ──mask──▶ each entity one private character of its type's range ──patterns──▶ triples

After masking, a pattern reads as people say it: a work, 由, an organization, 出版.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from infergraph_knowledge.records import Triple
from infergraph_knowledge.schema import OTHER
from infergraph_knowledge.spans import Span

ENTITIES_LIMIT = 512
"""The most entities of one type in a text: the size of its range of private-use characters."""

_FIRST = {"PER": 0xE000, "ORG": 0xE200, "LOC": 0xE400, "WORK": 0xE600, "TIME": 0xE800}
_PRIVATE = re.compile("[\ue000-\ue9ff]")


def _range(first: str, last: str = "") -> str:
    return f"[{chr(_FIRST[first])}-{chr(_FIRST[last or first] + ENTITIES_LIMIT - 1)}]"


P, O, L, W, T = (_range(kind) for kind in ("PER", "ORG", "LOC", "WORK", "TIME"))  # noqa: E741
C = r"[^，。；！？,;《》]"
"""A character of the same clause."""
PEOPLE = rf"{P}(?:(?:[、和与及]|以及){P})*"
ZH = "[\u4e00-\u9fff]"
_FAMOUS = r"(?:著名|现代|当代)?"
_PROFESSIONS = (
    "运动员|演员|歌手|作家|导演|科学家|药学家|文学家|诗人|画家|物理学家|数学家|化学家|生物学家|企业家|政治家|"
    "作曲家|音乐家|哲学家|思想家|艺术家"
)
_OFFICES = "作家|导演|演员|歌手|诗人|画家|物理学家|总统|总理|首相|国王"
_DYNASTIES = (
    "先秦|西汉|东汉|三国|西晋|东晋|南北朝|隋朝|隋代|唐朝|唐代|五代|北宋|南宋|宋代|宋朝|元代|元朝|明代|明朝|清代|清朝"
)
_IS_DYNASTY = re.compile(_DYNASTIES).fullmatch
_SCHOLARS = "诗人|词人|文学家|书法家|画家|政治家|将领|皇帝"


def h(pattern: str) -> str:
    """The group that is the head of the triple; it may hold several entities."""
    return f"(?P<head>{pattern})"


def t(pattern: str) -> str:
    """The group that is the tail of the triple; it may hold several entities."""
    return f"(?P<tail>{pattern})"


_PATTERNS: dict[str, Sequence[str]] = {
    "作者": (
        rf"{h(W)}{C}{{0,4}}的?(?:作者|原作者)(?:是|为|系|：)?{C}{{0,10}}?{t(P)}",
        rf"{h(W)}(?:是|为){C}{{0,12}}?{t(P)}(?:创作|所著|编写|撰写|著|写)",
        rf"{t(P)}(?:的|所著|著|创作的|撰写的)(?:长篇|中篇|短篇)?(?:小说|诗集|散文集|著作|作品|名著){h(W)}",
    ),
    "出版社": (rf"{h(W)}{C}{{0,20}}[，,]?{C}{{0,14}}由{t(O)}(?:于{T})?出版",),
    "出品公司": (rf"{h(W)}由{t(O)}(?:于?{T})?(?:出品|制作)",),
    "所属专辑": (rf"{h(W)}{C}{{0,12}}[，,]?{C}{{0,6}}收录(?:在|于){C}{{0,6}}专辑{t(W)}",),
    "上映时间": (rf"{h(W)}[^。；]{{0,30}}?(?:于|在){t(T)}(?:正式)?(?:在{C}{{0,6}})?(?:上映|公映|首播)",),
    "出生日期": (rf"{h(P)}[^。；]{{0,16}}?{t(T)}{C}{{0,3}}?(?:出生|生于)",),
    "出生地": (rf"{h(P)}(?:{C}|，){{0,22}}?(?:出生于|出生在|生于|诞生于){T}?{t(L)}",),
    "祖籍": (rf"{h(P)}(?:{C}|，){{0,16}}?祖籍(?:是|为|在)?{t(L)}",),
    "毕业院校": (
        rf"{h(P)}(?:{C}|，){{0,22}}?(?:先后)?(?:毕业于|就读于|考入){t(f'{O}{ZH}{{0,6}}(?:系|学院|专业)|{O}')}",
    ),
    "国籍": (
        rf"{h(P)}(?:，|{C}){{0,18}}?[，是]?{t(L)}(?:著名|男|女|籍|现代|当代|当红)*{C}{{0,8}}?(?:{_PROFESSIONS})",
        rf"{t(L)}{_FAMOUS}(?:{_OFFICES}){h(P)}",
    ),
    "妻子": (rf"{h(P)}的?(?:妻子|夫人|太太|爱妻)(?:是|为|叫)?{C}{{0,8}}?{t(P)}",),
    "丈夫": (rf"{h(P)}的?(?:丈夫|老公)(?:是|为|叫)?{C}{{0,8}}?{t(P)}",),
    "父亲": (
        rf"{t(P)}(?:之子|之女|的儿子|的女儿)(?:是|为|叫)?{h(P)}",
        rf"{h(P)}的?父亲(?:是|为|叫)?{C}{{0,6}}?{t(P)}",
    ),
    "母亲": (rf"{h(P)}(?:的|[^。；]{{0,10}}[，,])母亲(?:是|为|叫)?{C}{{0,6}}?{t(P)}",),
    "创始人": (
        rf"{h(O)}(?:的|[^。；《》]{{0,12}}[，,])?(?:联合)?(?:创始人|创办人|创立者)"
        rf"(?:是|为|、|兼{C}{{0,8}}?)?{C}{{0,4}}?{t(PEOPLE)}",
        rf"{h(O)}(?:成立于{T})[，,]?创始人(?:是|为)?{t(PEOPLE)}",
        rf"{t(PEOPLE)}(?:是|为|系){h(O)}的?(?:联合)?(?:创始人|创办人)",
        rf"{h(O)}由{t(PEOPLE)}(?:于{T})?(?:共同)?(?:创立|创办|创建|成立)",
        rf"{t(PEOPLE)}(?:于)?{T}?(?:在{C}{{0,4}})?(?:共同)?(?:创立|创办|创建)了?{h(O)}",
    ),
    "董事长": (
        rf"{h(O)}的?(?:现任)?(?:集团)?董事长(?:是|为|兼{C}{{0,8}}?)?{t(P)}",
        rf"{t(P)}(?:现)?(?:担任|任|是|为){h(O)}(?:的)?董事长",
    ),
    "成立日期": (
        rf"{h(O)}(?:成立|创立|创建|创办)于{t(T)}",
        rf"{h(O)}由(?:{PEOPLE})(?:创立|创办|创建)于{t(T)}",
    ),
    "总部地点": (rf"{h(O)}(?:{C}|，){{0,16}}?(?:总部|公司总部)(?:位于|设在|坐落于|在|设于){t(L)}",),
    "首都": (
        rf"{h(L)}的?(?:{C}{{0,12}}[，,])?首都(?:是|为|位于)?{t(L)}",
        rf"{t(L)}是{h(L)}的?首都",
    ),
    "官方语言": (rf"{h(L)}(?:的|[^。；]{{0,16}}[，,])?官方语言(?:是|为){t(f'{ZH}{{1,4}}语')}",),
    "字": (rf"{h(P)}[^。；]{{0,12}}?[，,]字{t(f'{ZH}{{1,2}}')}(?=[，,。])",),
    "号": (rf"{h(P)}[^。；]{{0,20}}?[，,]号{t(f'{ZH}{{2,5}}')}(?=[，,。])",),
    "朝代": (rf"{h(P)}[^。；]{{0,22}}?[，,是]{t(f'{ZH}?{T}|(?:{_DYNASTIES})')}(?:时期的?|著名)?(?:{_SCHOLARS})",),
}
_RULES = [(relation, re.compile(pattern)) for relation, patterns in _PATTERNS.items() for pattern in patterns]

# What people did for a work: the work is named before them (由…执导) or behind the verb (执导的《…》).
_DEEDS = {
    "导演": "(?:联合)?(?:执导|导演)",
    "主演": "(?:领衔|联袂)?主演",
    "编剧": "(?:担任)?编剧",
    "作词": "(?:作词|填词)",
    "作曲": "(?:作曲|谱曲)",
    "歌手": "(?:演唱|主唱)",
    "主持人": "(?:担任主持人|主持)",
    "制片人": "(?:担任制片人|制片)",
}
_DEED_RULES = [
    (relation, re.compile(rf"{t(PEOPLE)}(?:联合|领衔|共同)?{verb}(?:的[^，。；《》]{{0,8}}?{h(W)})?"))
    for relation, verb in _DEEDS.items()
]

# What people are to a work named before: 《…》的导演是…，主演有…
_ROLES = {
    "导演": "导演",
    "主演": "主演",
    "编剧": "编剧",
    "作者": "作者",
    "作词": "(?:词作者|作词)",
    "作曲": "(?:曲作者|作曲)",
    "歌手": "(?:演唱者|原唱|歌手)",
    "主角": "主角",
    "主持人": "主持人",
    "制片人": "制片人",
}
_ROLE_RULES = [
    (relation, re.compile(rf"(?:的|[，,、]){noun}(?:是|为|有|：|包括){C}{{0,6}}?{t(PEOPLE)}"))
    for relation, noun in _ROLES.items()
]


class Masked(NamedTuple):
    """A text in which each entity is one private character, and the entities by that character."""

    text: str
    entities: dict[str, tuple[str, str]]

    def arguments(self, group: str) -> list[tuple[str, str]]:
        """The (text, type) of what a group matched: each entity of a list, else the words that it stands for."""
        inside = [self.entities[character] for character in group if character in self.entities]
        if len(inside) > 1 or len(inside) == len(group):
            return inside
        words = "".join(self.entities.get(character, (character, ""))[0] for character in group)
        return [(words, inside[0][1] if inside else OTHER)]

    def work_before(self, place: int) -> str | None:
        """The last work that is named before `place`."""
        works = (c for c in reversed(self.text[:place]) if c in self.entities and self.entities[c][1] == "WORK")
        return next(works, None)


def mask(text: str, spans: Sequence[Span]) -> Masked:
    """`text` with its entities masked; the brackets of a title go with it.

    Args:
        spans: at most ENTITIES_LIMIT, in order, none overlapping.
    """
    # A dynasty is a time, whatever it was taken for, and the patterns know it by its name.
    spans = [span for span in spans if not _IS_DYNASTY(text, span.start, span.end)]
    entities = {chr(_FIRST[s.type] + place): (text[s.start : s.end], s.type) for place, s in enumerate(spans)}
    # Private characters of the author's own would be taken for entities.
    plain = _PRIVATE.sub("\ufffd", text)
    parts, end = [], 0
    for character, span in zip(entities, spans, strict=True):
        bracketed = plain[span.start - 1 : span.start] == "《" and plain[span.end : span.end + 1] == "》"
        parts += [plain[end : span.start - bracketed], character]
        end = span.end + bracketed
    return Masked("".join(parts) + plain[end:], entities)


def find_triples(text: str, spans: Sequence[Span]) -> list[Triple]:
    """The triples that the patterns find, in the order of the patterns, each once.

    Args:
        spans: see `mask`.
    """
    masked = mask(text, spans)
    found: dict[tuple[str, str, str], Triple] = {}
    for relation, heads, tails in _matches(masked):
        for head, head_type in heads:
            for tail, tail_type in tails:
                if head != tail:
                    found.setdefault((head, relation, tail), Triple(head, relation, tail, head_type, tail_type))
    return list(found.values())


Arguments = list[tuple[str, str]]


def _matches(masked: Masked) -> Iterator[tuple[str, Arguments, Arguments]]:
    for relation, pattern in _RULES:
        for match in pattern.finditer(masked.text):
            yield relation, masked.arguments(match["head"]), masked.arguments(match["tail"])
    for relation, pattern in _DEED_RULES + _ROLE_RULES:
        for match in pattern.finditer(masked.text):
            work = match.groupdict().get("head") or masked.work_before(match.start())
            if work:
                yield relation, masked.arguments(work), masked.arguments(match["tail"])
