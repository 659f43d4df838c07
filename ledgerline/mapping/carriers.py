"""Neutral carrier sentences and word lists from which training examples are made. The making is in `labelled`.

Every sentence is written for this project; {} is where the surface goes. The lists are closed classes of words (places,
functions of a subsidiary, legal forms), not names of firms.
"""

from __future__ import annotations

ENGLISH_SENTENCES = (
    "{} reported results for the quarter.",
    "{} said on Tuesday that it had completed the review.",
    "{} shares were little changed in early trading.",
    "{}, which is based in the region, declined to comment.",
    "The filing names {} as a counterparty to the agreement.",
    "Analysts at the firm follow {} among other issuers.",
    "A spokesperson for {} confirmed the schedule.",
    "According to the report, {} and two other issuers took part.",
    "On Monday, {} filed its annual report with the regulator.",
    "The agreement was signed by {} and its lenders.",
    "The notice lists {} on its second page.",
    "Executives of {} spoke at the conference on Thursday.",
    "Volume in {} stock was near its average.",
    "Other issuers in the table include {}, in alphabetical order.",
    "The committee met with {} in the spring.",
    "In a statement, {} described the change of auditor.",
    "Coverage of {} began in March.",
    "{}'s annual meeting takes place in May.",
    "The fund holds bonds of {} and cash.",
    "Customers such as {} use the service.",
    "Update: {} publishes its calendar",
    "{} Publishes Date Of Annual Meeting",
    "Calendar for the week: {} and others",
    "{} stock in focus",
    "What to know about {} this week",
    "The supplier delivers parts to {} and to others in the industry.",
    "While {} already offers the service, it has not said when it ends.",
    "It compares {} with its peers over five years.",
    "Former {} executive joins the board of a university",
    "Employees of {} can vote until June.",
    "the filing by {} was received today",
    "{}",
    "{}",
)
BRACKET_SENTENCES = (
    "{} ({}:{}) published its calendar.",
    "The list holds {} ({}: {}) and three others.",
    "Shares of {} ({}: {}) were unchanged.",
)
TICKER_SENTENCES = (
    "${} calendar for the week",
    "Watching ${} today",
    "The company trades under the symbol ({}).",
    "The shares (NASDAQ: {}) were unchanged.",
    "The issuer (NYSE: {}) filed its report.",
)
LOWER_CASE_SENTENCES = (
    "Put the {} next to the window.",
    "The price {} was left as it was.",
    "It is a {} of the kind that people like.",
    "They {} the figures against the list.",
    "You may need a new {} for this.",
    "The {} was closed for the season.",
    "No {} was found in the room.",
    "Every {} counts in a long season.",
    "to {} what was promised",
    "one {} after the other was counted",
    "This will {} the result of last year.",
    "The city is a {} for travellers.",
)
KOREAN_SENTENCES = (
    "{}, 분기 실적 발표 일정 공개",
    "{} 정기 주주총회 5월 개최",
    "{}는 월요일 보고서를 제출했다.",
    "{}의 공시에 따르면 일정은 그대로다.",
    "[일정] {} 등 세 곳",
    "{} 주가 보합",
    "회사는 {}와 계약을 맺었다.",
    "목록에는 {}도 있다.",
    "{}",
)
# Words that a careless span takes along to the left of a name.
_LEFT_WORDS = """of Of The And Or Why Has How Use No Say Try Only By At With For From In On About Like Buy Sell Analysts
    Investors Traders Today Shares Stock Stocks Earnings Preview Update Report Rating Ratings Estimates Outlook Company
    Position Insider Director Trims Raises Cuts Rival Maker Giant Group's Chipmaker Retailer Bank Former Competitor
    Options Calendar Notice Watch Week Month Price Target Review Recap Details Interview Chief Fund Holds"""
LEFT_WORDS = tuple(_LEFT_WORDS.split())
LEFT_JOINTS = ("of", "Of", "for", "For", "at", "In", "by", "And", "From", "Like", "Over", "")
LEFT_PLACES = ("China-based", "US-based", "U.S.", "Japan's", "Texas-based", "London-listed", "Germany's")
RIGHT_SHARE_TEXT = (
    "Class A",
    "Class A Common Stock",
    "Common Stock",
    "Adr",
    "ADR",
    "Ord Shs",
    "Ordinary Shares",
    "American Depositary Shares",
)
US_FORMS = (
    "Inc",
    "Inc.",
    ", Inc.",
    "Corp",
    "Corp.",
    "Corporation",
    "Co",
    "Co.",
    "Company",
    "Ltd",
    "Ltd.",
    "Plc",
    "PLC",
)
UK_FORMS = ("Ltd", "Ltd.", "Limited", "Plc", "PLC", "plc")
BRANCH_FORMS = (
    "LLC",
    ", LLC",
    "LP",
    ", L.P.",
    "GmbH",
    "B.V.",
    "S.A.",
    "AB",
    "A/S",
    "AS",
    "Oy",
    "K.K.",
    "S.r.l.",
    "Ltda.",
    "AG",
)
SUBSIDIARY_FORMS = (
    "LLC",
    ", LLC",
    ", L.L.C.",
    "Inc.",
    ", Inc.",
    "Corp.",
    "Corporation",
    "Limited",
    "Ltd.",
    "Co., Ltd.",
    "LP",
    ", L.P.",
    "LLP",
    "GmbH",
    "B.V.",
    "BV",
    "S.A.",
    "SA",
    "SAS",
    "AG",
    "AB",
    "A/S",
    "S.r.l.",
    "S.p.A.",
    "Oy",
    "K.K.",
    "Pte. Ltd.",
    "Pty Ltd",
    "Pvt. Ltd.",
    "Sdn. Bhd.",
    "S. de R.L. de C.V.",
    "ULC",
    "Ltda.",
    "Company",
    "Trust",
)
FOREIGN_FORMS = (
    "Ltd",
    "Ltd.",
    "Limited",
    "AG",
    "SpA",
    "SA",
    "ASA",
    "AB",
    "NV",
    "Plc",
    "Holdings Ltd",
    "GmbH",
    "Co Ltd",
)
_PLACES = """Canada Mexico Brasil Brazil Argentina Chile Peru Colombia Europe Deutschland Germany Nederland Netherlands
    Belgium France Italia Italy Espana Spain Portugal Austria Swiss Switzerland Sweden Norway Denmark Finland Poland
    Polska Czech Hungary Romania Turkey Israel India China Shanghai Hangzhou Shenzhen Beijing Taiwan Japan Korea
    Singapore Malaysia Thailand Indonesia Philippines Vietnam Australia Zealand Africa Egypt Kenya Nigeria Russia
    Ukraine Ireland Scotland UK U.K. Texas California Delaware Ohio Michigan Florida Georgia Virginia Carolina
    Maryland Pennsylvania Jersey York Illinois Indiana Missouri Kansas Nevada Arizona Utah Oregon Washington Puerto
    Rico Louisiana Tennessee Kentucky Iowa Wisconsin Asia Pacific Americas Latin Middle East Northern Southern
    Western Eastern Bermuda Cayman Luxembourg Hong Kong"""
PLACES = tuple(_PLACES.split())
_FUNCTIONS = """Finance Financing Services Service Leasing Travel Funding Receivables Capital Properties Property
    Realty Logistics Insurance Operations International Global Worldwide Trading Marketing Sales Manufacturing
    Distribution Holdings Holding Investments Investment Partners Acquisition Development Energy Power Gas Pipeline
    Midstream Storage Transport Marine Technologies Technology Solutions Systems Software Networks Communications
    Wireless Media Publications Consulting Management Administration Staffing Workforce Security Engineering
    Construction Materials Packaging Plastics Chemicals Foods Beverage Brands Retail Stores Outlet Pharmacy Medical
    Health Laboratories Research Licensing Intellectual Mortgage Credit Bank Trust Securities Advisors Asset
    Ventures Exposure Business Corporate Foreign Automation Cutting Welding Tools Components Products Industries
    Enterprises Land Office Building Campus Park Square Tower Mills Road"""
FUNCTIONS = tuple(_FUNCTIONS.split())
NUMERALS = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "2", "3", "4", "100", "220", "134", "A", "B", "C")
_INVENTED = """Ash Oak Birch Cedar Maple Stone River Lake Hill Ridge Valley Meadow Harbor Bay Crest Field Ford Brook
    Spring North South East West Grand Royal Golden Silver Blue Green Red White Black Iron Copper Falcon Eagle Hawk
    Lion Bear Wolf Fox Star Sun Moon Sky Arrow Anchor Bridge Castle Crown Gate Haven Key Liberty Mission Noble
    Orchard Pioneer Quest Summit Tri Union Vista Willow Apex Nova Terra Aqua Vera Luma Zeta Orion Atlas Delta Omega
    Sigma Alpha Beta Kappa"""
INVENTED_WORDS = tuple(_INVENTED.split())
_REGIONS = """Asian European US Chinese Japanese Taiwan Indian British German French Korean Russian Gulf Emerging
    Brazil Hong Nordic Swiss Global World Euro Thai Turkish Sterling Mexican Canadian Australian Latin African"""
REGIONS = tuple(_REGIONS.split())
_MARKET_NOUNS = """stocks shares bonds yields equities futures exports imports banks index indices currency rupee
    yuan yen gilts market markets economy oil gold steel crude pepper sugar cotton wheat copper rubber tea coffee"""
MARKET_NOUNS = tuple(_MARKET_NOUNS.split())
_SECTORS = """Banking Steel Auto Pharma Realty Metal Metals Power Energy Telecom Cement Sugar Oil Gold Silver Copper
    Crude Infra Infrastructure Retail Aviation Shipping Textile Technology Healthcare Insurance Cotton Rubber Media
    Mining Dollar Euro Yen Sterling Government Parliament Treasury Budget Railways Housing Exports Bonds Gilts
    Monsoon Tourism Agriculture"""
SECTORS = tuple(_SECTORS.split())
INSTITUTIONS = (
    "Central Bank",
    "World Bank",
    "Finance Ministry",
    "Supreme Court",
    "Federal Reserve",
    "Bank of England",
    "European Commission",
    "Reserve Bank",
    "State Government",
    "Monetary Fund",
    "Stock Exchange",
    "Securities Commission",
    "Competition Authority",
    "Planning Commission",
    "Commerce Department",
    "High Court",
    "Central Board",
    "Trade Union",
)
_KOREAN_AFFILIATES = """서비스 홀딩스 건설 개발 엔지니어링 물류 로지스 네트웍스 시스템즈 인베스트먼트 자산운용
    파트너스 에너지 솔루션 테크 재팬 차이나 아메리카 유럽 베트남 스타일 커머스 엔터테인먼트 모빌리티 헬스케어
    바이오 소재 정밀 산업 상사 유통 리테일 푸드 호텔 리조트 제일차 제이차 유동화전문 제삼호 사모투자 씨엔에스
    아이엔 디앤씨 앤씨 코프 벤처스 캐피탈 저축은행 재단 학원 농업회사법인"""
KOREAN_AFFILIATE_WORDS = tuple(_KOREAN_AFFILIATES.split())
