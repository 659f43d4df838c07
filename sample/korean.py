"""Business-like neutral Korean for generated DART documents. As in `sample.english`, only the names are real."""

# ruff: noqa: SIM905  plain words read best as a sentence
from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sample.companies import Company
from sample.draws import Draw

DISCLAIMER = "Ledgerline이 생성한 예시 문장이며 어떤 회사의 공시도 아닙니다."

_PLACES = "평택 구미 창원 군산 여수 원주 청주 안산 천안 포항 김해 아산".split()
_GOODS = "냉각 펌프|포장 필름|시험 장비|물류 상자|전력 케이블|교육 과정|지도 데이터|배터리 상자|지붕 자재|측정기".split(
    "|"
)
_NAMES = "가온|나래|다솜|라온|마루|바름|새론|아라|한울|해솔".split("|")

TOPICS: dict[str, tuple[str, ...]] = {
    "supply": (
        "당사는 2026년 {month}월 {day}일 {partner}_와 {goods} 공급계약을 [체결하였습니다|갱신하였습니다].",
        "계약기간은 {number}개월이며 납품 장소는 {place} {project} 사업장입니다.",
        "계약금액은 {amount}억원이고 대금은 분기마다 지급됩니다.",
        "{partner}_는 {project} 사업장의 기존 거래처입니다.",
    ),
    "results": (
        "{project} 부문 매출액은 {amount}억원으로 전년 {amount}억원과 비교됩니다.",
        "주요 매출처는 {partner}, {partner} 및 {partner} 등입니다.",
        "재고자산 회전일수는 {number}일이며 변동은 물량과 구성에 따른 것입니다.",
        "{partner}_의 주문은 {place} 사업장에서 처리합니다.",
    ),
    "facility": (
        "{place} {project} 공장은 {year}년 {month}월 착공을 [계획하고 있습니다|예정하고 있습니다].",
        "설비는 {partner}_와 비상장사인 {unlisted}_로부터 공급받습니다.",
        "투자금액은 {amount}억원이며 내부 자금으로 [조달합니다|충당합니다].",
    ),
    "competition": (
        "{goods} 시장의 경쟁사로는 {partner}, {partner}_가 있습니다.",
        "가격과 납기, 서비스가 경쟁 요소이며 지역 업체인 {unlisted}_도 영업하고 있습니다.",
    ),
    "people": (
        "이사회는 {partner} 출신의 {project} 본부장 선임 안건을 {month}월에 논의합니다.",
        "정기주주총회는 {place} {project} 회관에서 3월 {day}일에 열립니다.",
    ),
    "history": (
        "{former}_와의 거래는 {past}년에 시작되었습니다.",
        "{former} 명의의 계약 {number}건은 그대로 유효합니다.",
    ),
}
FOOTER = (
    "이 문서에 포함된 예측정보는 작성일 현재의 가정에 기초한 것으로 실제 결과는 이와 다를 수 있습니다. "
    "환율, 금리, 원재료 가격, "
    "법령의 변경 등 여러 요인이 결과에 영향을 줄 수 있으며, 당사는 법령이 요구하는 경우를 제외하고 이 "
    "문서의 내용을 갱신할 의무를 "
    "부담하지 않습니다. 이 문서는 증권의 매수 또는 매도를 권유하는 것이 아닙니다."
)
_PARTICLES = {  # after a closed syllable, after an open one
    "와": ("과", "와"),
    "는": ("은", "는"),
    "가": ("이", "가"),
    "로": ("으로", "로"),
    "의": ("의", "의"),
    "도": ("도", "도"),
}
_PARTICLE = re.compile(r"(\S)_(와|는|가|의|로|도)")


def with_particles(text: str) -> str:
    """Puts the particle that the sound before it asks for: 삼성전자_와 is 삼성전자와, 롯데쇼핑_와 is 롯데쇼핑과."""

    def fitting(found: re.Match[str]) -> str:
        last, particle = found.groups()
        final = (ord(last) - 0xAC00) % 28 if "가" <= last <= "힣" else int(last in "013678LMNRlmnr")
        closed = bool(final) and not (particle == "로" and final == 8)  # after ㄹ it is 로
        return last + _PARTICLES[particle][0 if closed else 1]

    return _PARTICLE.sub(fitting, text)


class KoreanWriter:
    """Writes paragraphs on behalf of one company, naming others from a pool."""

    def __init__(self, draw: Draw, others: Sequence[Company], unlisted: Sequence[tuple[str, str]]) -> None:
        self.draw, self.others, self.unlisted = draw, others, unlisted
        self._renamed = [company for company in others if company.former]
        self._projects = draw.several(_NAMES, 3)

    def paragraph(self, topic: str) -> str:
        templates = self.draw.several(TOPICS[topic], self.draw.number(2, 4))
        return " ".join(with_particles(self.draw.fill(template, self._slots())) for template in templates)

    def partner(self) -> str:
        company = self.draw.pick(self.others)
        if company.aliases and self.draw.chance(0.5):
            return self.draw.pick(company.aliases)
        return f"{company.name}({company.ticker})" if self.draw.chance(0.12) else company.name

    def former(self) -> str:
        company = self.draw.pick(self._renamed)
        return self.draw.pick((f"{company.name}(구 {company.former[0]})", company.former[0]))

    def _slots(self) -> dict[str, Callable[[], str]]:
        draw = self.draw
        return {
            "partner": self.partner,
            "former": self.former,
            "unlisted": lambda: draw.pick(self.unlisted)[1],
            "project": lambda: draw.pick(self._projects),
            "place": lambda: draw.pick(_PLACES),
            "goods": lambda: draw.pick(_GOODS),
            "month": lambda: str(draw.number(3, 12)),
            "day": lambda: str(draw.number(4, 28)),
            "year": lambda: str(draw.number(2026, 2029)),
            "past": lambda: str(draw.number(2009, 2024)),
            "number": lambda: str(draw.number(11, 96)),
            "amount": lambda: str(draw.number(12, 960)),
        }
