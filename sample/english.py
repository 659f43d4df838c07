"""Business-like neutral English for generated filings: templates with many variants, and the words that fill them.

Every text begins with DISCLAIMER. What is said of a company is neutral and made up; only the names are real.
"""

# ruff: noqa: SIM905  plain words read best as a sentence
from __future__ import annotations

from collections.abc import Callable, Sequence

from sample.companies import Company
from sample.draws import Draw

DISCLAIMER = "Generated sample text of Ledgerline; not a filing of any company."

_SYLLABLES = "al bar cal dun el far gal hol is kel lin mor nor ost pel quin ros sel tor ul ver wes yar zan".split()
_ENDS = "ton ridge field brook mere holm by ford stead wick dale combe".split()
_CITIES = (
    "Omaha Tulsa Reno Boise Akron Dayton Mobile Provo Salem Eugene Waco Peoria Lansing Topeka Macon Duluth".split()
)
_GOODS = (
    "pump housings|display glass|packaging film|test fixtures|cold storage racks|cable harnesses|lab reagents|"
    "payroll software|map data|training courses|office leases|water meters|turbine blades|cotton yarn|pallets|"
    "call center hours|battery trays|printing plates|roof panels|data center racks"
).split("|")
_ROLES = "vice president of operations|general counsel|controller|treasurer|chief people officer|head of supply".split(
    "|"
)
_FIRST = (
    "Avery Blake Casey Danilo Elric Finley Gregor Hester Indra Jules Kerry Lowell Marlo Noel Ottoline Perrin".split()
)
_LAST = "Alderby Brindle Carrow Dunmere Eastlake Farrow Glenhart Hollis Ivermoor Kettleby Lindqvale Marchbank".split()

# Lower-case words that are also names of companies: here they are only words.
COMMON_WORDS = (
    "The [cafeteria|site kitchen] now buys [apple juice|apple sauce|fresh apple slices] from a local orchard.",
    (
        "The [target|revised target] date for the {project} work is {month}, and the gap to the earlier plan "
        "is {number} days."
    ),
    "Staff who travel need a valid visa, and the visa office answers within {number} days.",
    "A snap inspection found the outer shell of the {project} hall in good order.",
    "The crew had to ford a shallow stream to reach the {project} survey markers.",
    "Each square of the floor plan carries a block number and a gap of {number} inches.",
    "The oracle of the old planning model was replaced by a plain chase of open orders.",
    "A visit to the nearest best buy date showed that supplies of apple cider last until {month}.",
    "Visitors chase the sunrise at the {project} point, where the meta sign explains the unity of the valley.",
    "The match between stock and ledger left a gap of {number} units against the target.",
)
# Firms that are made up and bear no listing.
UNLISTED = (
    "Harlow & Finch Logistics LLC|Tessermoor Instruments GmbH|Pinderby Foods Pty Ltd|Quillstone Advisory LLP|"
    "Osterwick Marine B.V.|Calderholm Timber AB|Brackenfell Tools Ltd|Marrowdale Clinics LLC"
).split("|")

TOPICS: dict[str, tuple[str, ...]] = {
    "supply": (
        "[On|Effective] {date}, {self} [entered into|renewed|extended] a supply agreement with {partner} for {goods}.",
        ("The agreement has a term of {number} [months|quarters] and [covers|provides for] deliveries to "
         "the {project} site in {city}."),
        "Either party may end the agreement on {number} days' notice; [no|customary] minimum quantities apply.",
        "[Pricing|The price list] is reviewed in {month} and follows a published index.",
    ),
    "lease": (
        ("{self} [leases|has leased] about {big} square feet at {project} Park in {city} [for {goods}|as "
         "a regional office]."),
        "The lease [runs until|may be extended to] {year} and includes {number} parking bays shared with {partner}.",
        "Rent is [payable monthly|due each quarter]; the landlord, {unlisted}, maintains the roof and the yard.",
    ),
    "credit": (
        ("[The credit agreement|A revolving facility] of ${amount} million with {partner} as "
         "administrative agent [matures|expires] in {year}."),
        "The facility carries a margin of {fraction} percent and a commitment fee of {small} percent.",
        "Borrowings under the {project} tranche were ${amount} million at the end of {month}.",
        "The agreement contains covenants that are usual for facilities of this kind.",
    ),
    "people": (
        "{person} was [named|appointed] {role} of {self}, [effective|as of] {date}.",
        "{person} joined from {partner} and [will work|works] from the {city} office.",
        "There is no arrangement between {person} and any other person under which the appointment was made.",
    ),
    "results": (
        ("Revenue of the {project} segment was ${amount} million, [compared with|against] ${amount} "
         "million a year before."),
        ("[Operating expenses|Selling expenses] were {fraction} percent of revenue; the change "
         "[reflects|is due to] volume and mix."),
        ("Customers that [account for|make up] more than {number} percent of receivables include "
         "{partner} and {partner}."),
        "Cash and equivalents at the end of {month} were ${amount} million.",
        "Inventory days were {number}, and capital spending on {project} was ${amount} million.",
    ),
    "facility": (
        ("Work on the {project} facility in {city} [began|is planned to begin] in {month} {year}; it will "
         "hold {big} units of {goods}."),
        "Equipment for the site [is bought from|comes from] {partner} and from {unlisted}.",
        "The site [employs|will employ] {big} people in {number} shifts.",
    ),
    "competition": (
        "In {goods}, the [main|principal] competitors [are|include] {partner}, {partner} and {partner}.",
        "Competition [turns on|is based on] price, delivery time and service in {city} and elsewhere.",
        "Smaller firms such as {unlisted} serve single regions.",
    ),
    "technology": (
        "The {project} platform [runs on|uses] services of {partner} and is [tested|reviewed] every {number} weeks.",
        "A pilot with {partner} in {city} ended in {month}; {big} records were processed.",
        "The license from {partner} is non-exclusive and ends in {year}.",
    ),
    "history": (
        "{former} is a customer of the {project} unit since {year_past}.",
        "The framework contract with {former} was assigned in {year_past}.",
        "Orders from {former} are invoiced in {city}.",
    ),
    "market": (
        "A basket that the plan follows holds {symbol}, {symbol} and {symbol} in equal parts.",
        "The {project} index is weighted by revenue and includes {symbol}.",
        "Reference prices of {symbol} are taken at the close of the last trading day of {month}.",
    ),
    "governance": (
        "The [audit|compensation|nominating] committee met {number} times in {year_past}; all members are independent.",
        "{person} also serves on the board of {partner}.",
        "Proposals of holders for the next annual meeting are due by {date} at the {city} office.",
    ),
    "events": (
        "{self} will present at the {project} conference in {city} on {date}, as will {partner}.",
        "A recording [is available|can be heard] for {number} days.",
        "Questions may be sent to the {project} desk.",
    ),
}  # fmt: skip

FOOTERS = (
    "Forward-Looking Statements. This communication contains forward-looking statements within the "
    "meaning of Section 27A of "
    "the Securities Act of 1933 and Section 21E of the Securities Exchange Act of 1934. Words such as "
    "may, will, should, "
    "expect, plan, intend, estimate and believe identify such statements. They rest on assumptions that "
    "may prove wrong and "
    "are subject to risks that could cause results to differ, among them demand, prices, interest and "
    "exchange rates, supply "
    "of materials, changes of law, and weather. Nothing here is a promise of future results, and no duty is assumed to "
    "update any statement after its date, except as the law requires.",
    "The information in this item is furnished and shall not be deemed to be filed for the purposes of "
    "Section 18 of the "
    "Securities Exchange Act of 1934, or otherwise subject to the liabilities of that section, nor shall it be deemed "
    "incorporated by reference into any filing under the Securities Act of 1933, whether made before or after the date "
    "hereof and regardless of any general incorporation language in such filing. Furnishing this information is not an "
    "admission that any of it is material.",
    "This document does not constitute an offer to sell or the solicitation of an offer to buy any "
    "securities, nor shall "
    "there be any sale of securities in any state in which such offer, solicitation or sale would be unlawful before "
    "registration or qualification under the securities laws of that state. Neither the Securities and "
    "Exchange Commission "
    "nor any state commission has approved or disapproved of these securities or passed upon the "
    "accuracy of this document. "
    "Any representation to the contrary is a criminal offense.",
)
_MONTHS = "January February March April May June July August September October November December".split()


class Writer:
    """Writes paragraphs on behalf of one company, naming others from a pool."""

    def __init__(self, draw: Draw, own: Company, others: Sequence[Company]) -> None:
        self.draw, self.own, self.others = draw, own, others
        self._renamed = [company for company in others if company.former]
        self._projects = [self._project() for _ in range(3)]

    def paragraph(self, topic: str, sentences: int) -> str:
        """Sentences of one topic, some of them twice with other fillings where more are asked for than there are."""
        templates: list[str] = []
        while len(templates) < sentences:
            templates += self.draw.several(TOPICS[topic], sentences - len(templates))
        return " ".join(self.sentence(template) for template in templates)

    def sentence(self, template: str) -> str:
        return self.draw.fill(template, self._slots())

    def common_words(self) -> str:
        return self.sentence(self.draw.pick(COMMON_WORDS))

    def partner(self) -> str:
        """Another company in one of its present spellings."""
        company = self.draw.pick(self.others)
        if self.draw.chance(0.45):
            return company.name
        if company.aliases and self.draw.chance(0.5):
            return self.draw.pick(company.aliases)
        if self.draw.chance(0.2):
            return f"{company.name} ({self._place(company)}: {company.ticker})"
        return company.short

    def former(self) -> str:
        company = self.draw.pick(self._renamed)
        old = self.draw.pick(company.former)
        return self.draw.pick((f"{company.name}, formerly {old},", f"{company.short} (formerly known as {old})", old))

    def symbol(self) -> str:
        company = self.draw.pick(self.others)
        return self.draw.pick((f"{company.short} ({company.ticker})", f"{self._place(company)}: {company.ticker}"))

    def person(self) -> str:
        return f"{self.draw.pick(_FIRST)} {self.draw.pick(_LAST)}"

    @staticmethod
    def _place(company: Company) -> str:
        return {"Nasdaq": "NASDAQ", "CBOE": "Cboe"}.get(company.exchange, company.exchange)

    def _project(self) -> str:
        made = "".join(self.draw.pick(_SYLLABLES) for _ in range(self.draw.number(1, 2)))
        return (made + self.draw.pick(_ENDS)).capitalize()

    def _slots(self) -> dict[str, Callable[[], str]]:
        draw = self.draw
        return {
            "self": lambda: draw.pick(("The Company", "The Company", "The Registrant", self.own.name, self.own.short)),
            "partner": self.partner,
            "former": self.former,
            "symbol": self.symbol,
            "person": self.person,
            "unlisted": lambda: draw.pick(UNLISTED),
            "project": lambda: draw.pick(self._projects),
            "city": lambda: draw.pick(_CITIES),
            "goods": lambda: draw.pick(_GOODS),
            "role": lambda: draw.pick(_ROLES),
            "month": lambda: draw.pick(_MONTHS),
            "date": lambda: f"{draw.pick(_MONTHS[:2])} {draw.number(1, 27)}, 2026",
            "year": lambda: str(draw.number(2027, 2034)),
            "year_past": lambda: str(draw.number(2017, 2025)),
            "number": lambda: str(draw.number(11, 97)),
            "big": lambda: f"{draw.number(1, 98)},{draw.number(100, 999)}",
            "amount": lambda: f"{draw.number(2, 940)}.{draw.number(0, 9)}",
            "fraction": lambda: f"{draw.number(1, 24)}.{draw.number(10, 99)}",
            "small": lambda: f"0.{draw.number(10, 45)}",
        }


def edited(text: str, draw: Draw, figures: int) -> str:
    """A copy with small edits: some other figures, a word, a dropped sentence."""
    words = text.split(" ")
    places = [at for at, word in enumerate(words) if word.strip("$,.").replace(".", "").isdigit()]
    for at in draw.several(places, figures):
        words[at] = words[at].replace(words[at].strip("$,."), str(draw.number(12, 980)))
    text = " ".join(words)
    for old, new in (("is planned", "is scheduled"), ("reflects", "results from"), ("renewed", "prolonged")):
        text = text.replace(old, new, 1)
    sentences = text.split(". ")
    if len(sentences) > 6:
        del sentences[draw.number(3, len(sentences) - 2)]
    return ". ".join(sentences)
