"""Kinds of securities, recognised from names, symbols and attributes of the form that `/v2/assets` gives."""

from __future__ import annotations

import pytest

from config import FIELDS, DataSettings, load_settings
from trading.base.errors import UserError
from trading.market.kinds import kinds_of
from trading.market.universe import excluded_kind

COMMON = [
    ("AAPL", "Apple Inc. Common Stock"),
    ("TXG", "10x Genomics, Inc. Class A Common Stock"),
    ("XFOR", "X4 Pharmaceuticals, Inc. Common Stock"),
    ("UCTT", "Ultra Clean Holdings, Inc. Common Stock"),
    ("RARE", "Ultragenyx Pharmaceutical Inc. Common Stock"),
    ("PFBC", "Preferred Bank Common Stock"),
    ("WTS", "WTS"),
    ("PFD", "PFD"),
    ("BRK.B", "Berkshire Hathaway Inc. Class B"),
    ("MOG.A", "Moog Inc. Class A"),
    ("ET", "Energy Transfer LP Common Units representing limited partner interests"),
    ("BIP", "Brookfield Infrastructure Partners L.P. Limited Partnership Units"),
    ("PBT", "Permian Basin Royalty Trust Units of Beneficial Interest"),
    ("BBD", "Banco Bradesco SA American Depositary Shares (each representing one Preferred Share)"),
    ("OLD", "Old Mill Inc. Common Stock and associated Preferred Share Purchase Rights"),
    ("RGTI", "Rigetti Computing, Inc. Common Stock"),
    ("TEST", "Aehr Test Systems Common Stock"),
    ("UNIT", "Uniti Group Inc. Common Stock"),
    ("GRAB", "Grab Holdings Limited Class A Ordinary Shares"),
    ("GOOGL", "Alphabet Inc. Class A"),
    ("SHRT", "Short Hills Brewing Co. Common Stock"),
    ("BEAR", "Bear Creek Mining, Inc. Ordinary Shares"),
]

OTHERS = [
    ("TQQQ", "ProShares UltraPro QQQ", {"leveraged", "funds"}),
    ("SQQQ", "ProShares UltraPro Short QQQ", {"leveraged", "funds"}),
    ("PSQ", "ProShares Short QQQ", {"leveraged", "funds"}),
    ("VIXY", "ProShares VIX Short-Term Futures ETF", {"funds"}),
    ("SOXS", "Direxion Daily Semiconductor Bear 3X Shares", {"leveraged", "funds"}),
    ("TSLL", "Direxion Daily TSLA Bull 1.5X Shares", {"leveraged", "funds"}),
    ("NVDL", "GraniteShares 2x Long NVDA Daily ETF", {"leveraged", "funds"}),
    ("MSTZ", "T-REX 2X Inverse MSTR Daily Target ETF", {"leveraged", "funds"}),
    ("FNGD", "MicroSectors FANG+ Index -3X Inverse Leveraged ETNs due January 8, 2038", {"leveraged", "funds"}),
    ("BND", "Vanguard Total Bond Market ETF", {"funds"}),
    ("PL.WS", "Planet Labs PBC Warrants, each exercisable for one share of Common Stock at $11.50", {"warrants"}),
    ("PL.WS", "Planet Labs PBC", {"warrants"}),
    ("XYZ-WT", "", {"warrants"}),
    ("ABCDW", "ABCD Acquisition Corp. Warrant", {"warrants"}),
    ("AAM.U", "AA Mission Acquisition Corp. Units, each consisting of one share and a half warrant", {"units"}),
    ("AAM.U", "AA Mission Acquisition Corp.", {"units"}),
    ("ABCDR", "ABCD Acquisition Corp. Rights, each right entitles the holder to one tenth of a share", {"rights"}),
    ("FOO.RT", "", {"rights"}),
    ("BAC.PRK", "Bank of America Corporation", {"preferreds"}),
    ("BAC-PK", "", {"preferreds"}),
    ("HBANP", "Huntington Depositary Shares 4.5% Series H Non-Cumulative Perpetual Preferred Stock", {"preferreds"}),
    ("TVE", "Tennessee Valley Authority 6.235% Senior Notes due 2028", {"notes"}),
    ("NEW.WI", "New Company Inc. Common Stock When Issued", {"when_issued"}),
    ("ZVZZT", "", {"test"}),
    ("NTEST.A", "NYSE TEST SYMBOL", {"test"}),
    ("QTST", "Nasdaq Test Stock", {"test"}),
]  # fmt: skip


@pytest.mark.parametrize(("symbol", "name"), COMMON)
def test_common_stock_is_no_excluded_kind(symbol: str, name: str) -> None:
    assert kinds_of(symbol, name) == set()
    assert excluded_kind(symbol, DataSettings(), name, ["has_options", "fractional_eh_enabled"]) is None


@pytest.mark.parametrize(("symbol", "name", "kinds"), OTHERS)
def test_other_securities_are_recognised(symbol: str, name: str, kinds: set[str]) -> None:
    assert kinds_of(symbol, name) == kinds


def test_a_fifth_letter_counts_only_beside_its_root() -> None:
    assert kinds_of("QRSTW", "Qrst Acquisition Corp.", listed={"QRST", "QRSTW"}) == {"warrants"}
    assert kinds_of("QRSTU", "", listed={"QRST"}) == {"units"}
    assert kinds_of("QRSTW", "Qrst Acquisition Corp.", listed={"QRSTW"}) == set()
    assert kinds_of("QRSTR", "Qrst Rivers Inc. Common Stock", listed={"QRST"}) == set()


def test_a_partnership_without_exception_is_known_by_its_attribute() -> None:
    assert kinds_of("USO", "United States Oil Fund, LP", ["ipo", "ptp_no_exception"]) == {
        "partnerships",
        "funds",
    }
    assert kinds_of("ET", "Energy Transfer LP Common Units", ["ptp_with_exception"]) == set()


def test_the_setting_takes_a_list_or_none_and_names_what_it_does_not_know() -> None:
    given = {"EXCLUDED_KINDS": "warrants, When-Issued"}
    assert load_settings(environment=given).data.EXCLUDED_KINDS == ("warrants", "when_issued")
    assert load_settings(environment={"EXCLUDED_KINDS": "none"}).data.EXCLUDED_KINDS == ()
    assert "funds" not in FIELDS["EXCLUDED_KINDS"].default
    with pytest.raises(UserError, match="EXCLUDED_KINDS=etfs: input should be 'leveraged'"):
        load_settings(environment={"EXCLUDED_KINDS": "units,etfs"})
    everything = DataSettings(EXCLUDED_KINDS=())
    assert excluded_kind("PL.WS", everything, "Planet Labs PBC Warrants") is None
