"""Languages: their tags (BCP 47), which way they run, and the words of our own alerts in them."""

from __future__ import annotations

import re
from functools import lru_cache

# Languages written from right to left where no script is named, and such scripts.
_RIGHT_TO_LEFT = {"ar", "arc", "ckb", "dv", "fa", "he", "ks", "nqo", "ps", "sd", "ug", "ur", "yi"}
_RIGHT_TO_LEFT_SCRIPTS = {"Adlm", "Arab", "Hebr", "Nkoo", "Rohg", "Syrc", "Thaa"}

# What several alerts are called together that were held while a reader slept.
SLEPT = {
    "en": "While you slept",
    "es": "Mientras dormía",
    "fr": "Pendant que vous dormiez",
    "de": "Während Sie schliefen",
    "ru": "Пока вы спали",
    "ar": "بينما كنتم نائمين",
}
# Title and body of a test that a reader asks for; the newspaper's name is put in.
TEST = {
    "en": ("This is a test", "Alerts from {} will look like this."),
    "es": ("Esto es una prueba", "Así se verán los avisos de {}."),
    "fr": ("Ceci est un essai", "Les alertes de {} auront cet aspect."),
    "de": ("Dies ist ein Test", "So sehen Meldungen von {} aus."),
    "ru": ("Это проверка", "Так выглядят уведомления от {}."),
    "ar": ("هذه تجربة", "هكذا تبدو تنبيهات {}."),
}
# The title of a welcome, and what it says to whoever has to press it.
GREETING = {
    "en": "Welcome",
    "es": "Le damos la bienvenida",
    "fr": "Bienvenue",
    "de": "Willkommen",
    "ru": "Добро пожаловать",
    "ar": "أهلًا بكم",
}
PRESS = {
    "en": "Press here to confirm your alerts from {}.",
    "es": "Pulse aquí para confirmar los avisos de {}.",
    "fr": "Appuyez ici pour confirmer les alertes de {}.",
    "de": "Tippen Sie hier, um die Meldungen von {} zu bestätigen.",
    "ru": "Нажмите здесь, чтобы подтвердить уведомления от {}.",
    "ar": "اضغطوا هنا لتأكيد تنبيهات {}.",
}

# So many days, as one says for how long: one form for each plural of the language.
_DAYS = {
    "en": ("{} day", "{} days"),
    "es": ("{} día", "{} días"),
    "fr": ("{} jour", "{} jours"),
    "de": ("{} Tag", "{} Tage"),
    "ru": ("{} день", "{} дня", "{} дней"),
    "ar": ("يوم واحد", "يومين", "{} أيام", "{} يومًا", "{} يوم"),
}


@lru_cache(maxsize=1024)
def language_tag(text: str) -> str:
    """Return a language tag in its usual spelling (RFC 5646 section 2.1.1), `en-GB`; ValueError."""
    if len(text) > 35 or not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*", text):
        raise ValueError("must be a language tag such as en or en-GB")
    subtags = text.lower().split("-")
    for at, subtag in enumerate(subtags[1:], 1):
        if len(subtag) == 1:
            break
        subtags[at] = {2: subtag.upper(), 4: subtag.title()}.get(len(subtag), subtag)
    return "-".join(subtags)


def right_to_left(tag: str) -> bool:
    """Whether a language is written from right to left; a script that the tag names decides."""
    language, *subtags = tag.split("-")
    script = next((subtag for subtag in subtags[:1] if len(subtag) == 4 and subtag.isalpha()), None)
    return script in _RIGHT_TO_LEFT_SCRIPTS if script else language in _RIGHT_TO_LEFT


def days(number: int, language: str) -> str:
    """Return that number of days, at least one, in one of the languages that are ours."""
    return _DAYS[language][_plural(number, language)].format(number)


def _plural(number: int, language: str) -> int:
    """Return which of a language's forms goes with a number (CLDR, cardinal plurals)."""
    tens, ones = number % 100, number % 10
    if language == "ar":
        return number - 1 if number < 3 else 2 if 3 <= tens <= 10 else 3 if tens > 10 else 4
    if language == "ru":
        return 2 if 11 <= tens <= 14 else 0 if ones == 1 else 1 if 2 <= ones <= 4 else 2
    return int(number != 1)


def ours(locale: str) -> str:
    """Return in which of the languages that we have words in a reader is spoken to."""
    language = locale.partition("-")[0]
    return language if language in TEST else "en"
