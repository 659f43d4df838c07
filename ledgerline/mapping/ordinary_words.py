"""Words that are names of listed firms, or all that is left of one, and in running text nearly always something else.

The mention finder takes such a word for a firm only with a legal form or a ticker beside it: "Gap Inc.", "Box (BOX)".
Chosen by hand from what the finder reported on real filings, from the words that many firms have in their names, and
from calendars and maps.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENGLISH = _words(
    """
    a ace act action active adam africa agent agreement alabama alaska all allied alpha alpine america american amount
    an and ann annual any applied apr april area arizona arkansas as asia asset assets at atlanta atlas audit august
    austin auto autumn avenue award balance bancorp bank banks base be beta blue board bond book boston box brand
    brazil bridge build bulletin business buyer by california canada cap capital capstone care carolina cars cash
    castle catalyst cause central century certain chair chairman change charge charter chicago chief china circle
    citizens city civil claim clark class clear code coffee cohen college colorado commerce common companies company
    compass competitive complete compliance conduct connecticut consent contact continental control core corporate
    cost council counsel country coupons court cover cpi credit crown csr current dakota dallas data date deal debt
    december deed default delaware delta denver design diamond digital direct director discovery division dollar
    dominion east eastern edge effect element emerging employee employers energy england enhanced enterprise
    entertainment entity equity era esg estate eugene euro europe event exchange executive exhibit express fact fair
    family february federal fee field file filer final finance financial firm first fiscal five fleming florida focus
    for form fortune forward foundation founder four france franchise free frequency friday from frontier fund future
    games gap general georgia germany global gold golden good great green ground group growth guide hampshire hancock
    harbor has have hawaii he head health healthcare heartland high highway his holder home host hotels house houston
    hudson human idaho if il illinois impact imperial in income independence index india indiana individual industrial
    industries infinite information innovation inside insight inspire insurance integrity intelligent interest
    internal international internet into investment investor invitation iowa ireland is israel issue it item its
    january japan jersey jones july june kansas keith kentucky key korea labor land law lead leader legacy legal
    lender level liberty life light limited line link liquidity list lithium live loan local london long louisiana
    madison main maine major manager march marine mark market maryland massachusetts master match material matters
    maximum may media medical member merchants mercury merger metropolitan mexico miami michigan midstream midwest
    minerals minnesota mission mississippi missouri model modern moment monday money montana month morgan motion
    mutual name nano nasdaq national nature nebraska net network nevada new news next no noble nor north northern
    northwest not note notice november now number oak ocean october of off offer office officer ohio oil oklahoma old
    on one open option or orange orbit order oregon original orion other our out outlook own owner pacific paper paris
    park part partner partners parts party pass patent path patriot payment pennsylvania people per performance period
    person phoenix pilot pioneer plan platform point policy portfolio power precision premier present president price
    prime principal pro process product professional profile profit program progress project property proposal
    prospect provider proxy public purchase quality quantum quarter range rate re real realty record reform region
    registrant relay release remark report republic request research reserve resource resources result retail return
    revenue review revolution right rise river road rock royalty rule safe safety sale sales sample san sars saturday
    savings schedule science score sea seal search sec second secretary section secure security see select seller
    senior sense seoul september series service services session set seven share she shift side sign signature silver
    single site six small so social society soft solid solution solutions source south southern space spain special
    spring sprint square staff stamps standard stanley star start state statement states station step stock storage
    store story strategic strategy street strong structure student subject such summary summer summit sun sunday
    superior supplement support system table taiwan task tax team tec tech technology ten tennessee term terms
    territory test texas than that the their then there these they third this thomas those three thursday tim time
    titan title to tokyo total touch tower town track trade trading transfer transition translation travel treasury
    trend tribe troy trust trustee truth tuesday turn two tyler type unaudited under union unit united unity universal
    up update upon urban us user utah valley value various vector vendor venture vermont version vertical vice victory
    view village virginia vision vote waiver was washington water wave way we web wednesday weekly were west western
    what when where which white who whole will wilmington win winter wireless wisconsin wish with within witness word
    work works world worth wyoming year york you younger your zone
    """
)
# Two words and more, where both together are a place or a thing.
PHRASES = frozenset(
    {
        "new york", "new jersey", "new england", "new mexico", "new zealand", "north america", "south america",
        "north carolina", "south carolina", "united states", "united kingdom", "hong kong", "los angeles",
        "san francisco",
        "san diego", "las vegas", "silicon valley", "wall street", "common stock", "real estate", "private equity",
        "public company", "interactive data", "health care", "fair value", "south korea", "west virginia",
        "s 1",  # also a form of the SEC, named in most registration statements
    }
)  # fmt: skip
KOREAN = _words(
    """
    가온 개발 건설 경기 경인 계양 고려 국가 국보 국제 금융 기업 나노 남부 남성 남해 대동 대상 대성 대원 대유 대주 대창
    대한 동부 동아 동양 동원 만호 모두 무림 무학 미래 미원 방림 백산 보해 보험 부국 부산 북부 사업 산업 삼영 삼진 상상
    서부 서산 서울 선도 성문 성안 성장 세계 세기 세방 수산 시장 신대 신원 신화 아세아 여성 영원 우리 우원 원익 유니온
    유성 은행 이건 이월 인디 인지 일신 일정 자산 전방 전자 전진 정상 제약 조광 조선 조흥 주식 중앙 증권 지수 지원 진도
    진양 진짜 코아 태양 태원 투자 평화 하나 한국 한창 해성 현대 혜인 화신 화학 회사 흥국
    """
)
