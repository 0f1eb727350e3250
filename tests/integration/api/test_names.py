"""Names are found by each of their component groups, in whatever form they are written."""

from tests.integration.api.conftest import Api
from tests.support.builders import a_data_set


def wide(text: str) -> str:
    """Return ASCII in full width."""
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


NAMES = {
    "yamada": "Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ",
    "hata": "Hata^Jiro=秦^次郎=はた^じろう",
    "zhang": "Zhang^XiaoDong=张^小东",
    "hong": "Hong^Gildong=洪^吉洞=홍^길동",
    "lukasz": "Wałęsa^Łukasz",
    "only": "=王^小東",
    "full": f"{wide('TANAKA')}^{wide('KEN')}",
}
FOUND = {
    "yamada": [
        "Yamada*",
        "yamada^tarou",
        "山田*",
        "山田^太郎",
        "=山田*",
        "=山田^*",
        "*太郎",
        "?田*",
        "やまだ*",
        "==やまだ*",
        "ﾔﾏﾀﾞ*",
        "ヤマダ^タロウ",
        "*=山田*",
        "*=*=やまだ*",
        "Yamada*=山田*=やまだ*",
        "Yamada^Tarou=山田^太郎=ﾔﾏﾀﾞ^ﾀﾛｳ",
        "=Yamada*",
        "==山田*",
        f"山田{wide('*')}",
    ],
    "hata": ["はた*", "ハタ^*", "秦*"],
    "zhang": ["Zhang*", "=张*", "*小东*", "=*小东", "张^小东", "=Zhang*"],
    "hong": ["홍*", "홍^길?", "==홍^길동", "洪*", "*길동"],
    "lukasz": ["walesa*", "Wałęsa^Łukasz", "*lukasz", "WAŁĘSA^*"],
    "only": ["王*", "=王*", "*小東"],
    "full": ["Tanaka*", "TANAKA^KEN", f"{wide('tanaka')}^*"],
}
FUZZY = {
    "yamada": ["tarou yam", "山田", "やまだ", "ﾔﾏﾀﾞ", "yama=山", "山田=Tarou"],
    "hong": ["홍", "길동 홍"],
    "lukasz": ["lukasz", "wal luk"],
    "zhang": ["小东", "=张"],
}
NOT_FOUND = ["はだ*", "ほ*", "田*", "호*", "小*", "Taro", "=山田^太", "Yamada*=王*"]


async def test_names_are_found_by_each_of_their_component_groups(api: Api) -> None:
    made = {
        key: a_data_set(SpecificCharacterSet="ISO_IR 192", PatientName=name, PatientID=key)
        for key, name in NAMES.items()
    }
    await api.seed.add(*made.values())

    async def found(name: str, *, fuzzy: bool = False) -> list[str]:
        parameters = {"PatientName": name} | ({"fuzzymatching": "true"} if fuzzy else {})
        answer = await api.client.get("/dicom-web/studies", params=parameters)
        assert answer.status_code == 200, (name, answer.text)
        return [one["00100020"]["Value"][0] for one in answer.json()]

    for key, names in FOUND.items():
        for name in names:
            assert await found(name) == [key], name
    for key, names in FUZZY.items():
        for name in names:
            assert await found(name, fuzzy=True) == [key], name
    for name in NOT_FOUND:
        assert await found(name) == [], name
    for key, names in FOUND.items():  # and by REST
        answer = await api.client.get("/api/v1/studies", params={"patient_name": names[0]})
        assert [one["patient_id"] for one in answer.json()["data"]] == [key]
