r"""How numbers are written in a text, and what beside one makes it another number or none: `5 or 6`, `at least 5`, `\sqrt{5}`.

All patterns read what `readable` gives, in any case, and none takes more than linear time.
"""

import re

from distill.answers import final, signs

_PLAIN_SIGNS = str.maketrans(signs.DASHES | signs.QUOTES)
_SPACE_IN_NUMBER = re.compile(r"(?<=\d)[\u00a0\u2009\u202f](?=\d{3})")  # a narrow or no-break space: 12 000
_MARKUP = re.compile(r"[\\$<*_`^{]")  # most answers have none, and are read faster
_TAG = re.compile(r"</?[a-z][\w-]*>", re.IGNORECASE)  # </b>
_EMPHASIS = re.compile(r"(?<![\w*_`])(\*{1,3}|_{1,3}|`)(?=\S)([^*_`\n]+)(?:\1(?![\w*_`])|\Z)")  # **5**, but not 2**3
_POWER = re.compile(r"(?<=[a-z])\^([23])(?!\d)", re.IGNORECASE)  # ^2 in m^2
_PRODUCT = re.compile(r"(?<=[a-z]) ?\\cdot ?(?=[a-z])", re.IGNORECASE)  # of units: N \cdot m
_POWER_OF_TEN = re.compile(
    r"(?<=\d) ?(?:[×x·*]|\\times|\\cdot) ?10 ?(?:\^ ?\{?(?P<plain>[-+]?\d{1,3})\}?|(?P<raised>[⁻⁺]?[⁰¹²³⁴-⁹]{1,3}))(?![\w^]|\.\d)"
)
"""` × 10^6` behind a number."""
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_DEGREES = re.compile(r"\^?\{?\\(?:circ|degree)\b\}?")  # 5^\circ
_DELIMITER = re.compile(r"\\[()\[\]]|(?<!\\)(\$\$?)(?=\S)((?:\\.|[^$\\\n])++)(?<!\s)\1(?![\d$])")
"""`\\(5\\)`, `$5$`, but not `$5-$6`."""
_SPACES = re.compile(r"[^\S\n]{2,}|[^\S\n ]")

_CURRENCY = r"(?: (?-i:\b[A-Z]{1,2})? [$€£¥₹] )"  # $, A$
_DIGITS = r"""
    (?<![\w.]) (?<!\d,)                # neither the end of a word nor that of another number
    (?: \d{1,3} (?:,\d{3})++ (?:\.\d++)?   # 1,234.5
      | \d++ (?:\.\d++)?                # 1234.5
      | \.\d++ )                        # .5
    (?: e[-+]?\d{1,3}+ )?               # 1e-3
    (?! [.,]?\d | e[-+]?\d )            # no rest of another number: 1.2.3, 12,34
"""
_NUMBER_PARTS = rf"""
    (?: (?<![\w-]) (?P<minus>minus|negative) [ ] )?    # minus 5
    (?: (?<![\w)]) (?P<sign>[-+]) )?                   # -5, but not 3-5
    (?: (?P<currency>{_CURRENCY}) [ ]? (?P<inner>[-+])? )?   # $5, $-5
    (?P<digits>{_DIGITS})
"""
_ANY_NUMBER = re.sub(r"\?P<\w+>", "?:", _NUMBER_PARTS)  # the same without names, to occur twice in a pattern
_BOUND = r"""
    (?: (?<![-=]) [<>\u2264\u2265] =?     # < 5, >= 5
      | \b (?: (?:less|more|fewer|greater|higher|lower|later|earlier)[ ]than   # more than 5
             | at[ ](?:least|most) | up[ ]to | under | over | above | below | either ) )
"""
_OPEN_END = r"(?: \+(?!\d) | [ ]or[ ][a-z]+ | (?:[ ][a-z]+)?[ ]at[ ](?:least|most)\b )"  # 5+, 5 or more, 5 kg at most

_WORD = r"""
    (?: one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w{3,5}teen|twenty|thirty|forty|fifty|hundred|thousand
      | half|third|quarter|root|square|cube|factorial|reciprocal|percent|divided|multiplied )
"""
"""A number in words, or an operation."""
_VARIABLE = r"(?-i:[inxyz]) \b (?![.-][a-z])"  # x, but not i.e., x-rays
_LATEX = r"\\ (?! (?:n|approx|sim(?:eq)?|equiv|to|\w*arrow|implies|therefore|q?quad)\b ) [a-z]+"
"""A command that computes or compares; those that lead to a result, or only lay it out, do not."""
_JOINER = rf"""
    (?: (?:[ ]?[a-z%]+)? [ ] (?:or|and|to|plus|minus|times|x|out[ ]of) [ ]   # 5 or 6, 5 kg to 6
      | [ ]? (?: [-–—/^×+÷·⋅±√] | \*\*? | {_LATEX} ) [ ({{]* | : | \}}[ ]?\{{ )   # 5-6, 1:2, 3\sqrt{{2}}, \frac{{1}}{{2}}
"""
_BEFORE = rf"""
    (?: {_LATEX} (?:\[[^\]]{{0,9}}\])? [ ({{]*    # \sqrt{{5, \log 5
      | \}} [ ]? \{{                            # \frac{{x}}{{5
      | [√∛±≠^_/÷×·⋅] [ ({{]*                   # √5, x/5, x^{{5
      | \|(?=-)                                 # |-5|
      | \b {_VARIABLE} [ ]? [-+*] [ ]?          # x - 5
      | (?: \A | [=:(] ) [ ]? - [ ]             # x = - 5
      | \b (?:sqrt|log|ln|exp|sin|cos|tan|factorial|twice|double|triple|or) [ (]   # sqrt(5, log 5, ten or 5
      | \b {_WORD} [ ] (?:or|and|to|of|out[ ]of|in|by|over|plus|times) [ ] (?:the[ ])? )   # half of 5, two to 5
"""
_MAGNITUDE = r"""
    (?: (?: k|mn|mln|bn|tn|lakhs?|crores?|dozens?|hundreds?|thousands?|[a-z]*illions?   # 5 million
          | [mb]illi?[oó]n(?:es|en)? | mil(?:li|i|j)ard\w* | miljoen|mille|mila|mil|milh(?:ão|ões|ao|oes|ares)   # 5 milliards
          | mio|mrd|mld|tsd|tausend                                             # 5 Mio.
          | милли(?:он|ард)(?:а|ы|ов)?|тыс\w*|млн|млрд
          | (?-i:MM?|T)                                                         # 5M
          | halves|thirds|(?:four|fif|six|seven|eigh|nin|ten|hundred|thousand)ths ) \b (?!-\w)   # 5 tenths, not 5 T-shirts
      | [百千]?[万萬亿億兆만억] )                                                       # 5万
"""
_AFTER = rf"""
    (?: [ -]? {_MAGNITUDE}
      | [ ]? {_LATEX}                           # 5\pi
      | \}} [ ]? [{{^_]                         # \frac{{5}}{{x
      | [ ]? [\^√±÷½⅓⅔¼¾π²³⁴-⁹]                 # 5^x, 5 ½, 5²
      | (?-i:[abinxyz]) (?![.-]?[^\W\d_]) | [a-z]++\d\d | _\w   # 5x, 2h30m, 5_000
      | [ ]? [-+*/×·⋅] [ ]? {_VARIABLE}         # 5 + x
      | [ ] {_VARIABLE}                         # 5 x
      | [ ] (?:squared|cubed|factorial) \b      # 5 squared
      | [ ] and[ ](?:a|one|two|three)[ ](?:half|third|quarter)                  # 5 and a half
      | [ ] (?:to|times|plus|minus|point)[ ]{_WORD} \b (?![ ](?:decimal|significant|place|digit)) )   # 5 to six
"""
_FACTORIAL = r"\A \s* \d++ ! \s* \Z"  # behind 15.3, $5 or other words, the sign ends a sentence
_MONEY = rf"(?: {_CURRENCY} | \b(?:USD|EUR|GBP|JPY|INR|CHF|CNY) ) [ ]? {_DIGITS} [ ]? (?:m|b|t|mm)\b"  # $5m, EUR 5b


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE | re.VERBOSE)


NUMBER = _compiled(_NUMBER_PARTS)
STATEMENT = _compiled(
    rf"""
    {_FACTORIAL}
  | (?: not[ ] | n't[ ] )? (?: be[ ] )?            # not 5, can't be 5
    (?: {_BOUND} [ ]? )?                           # at least 5
    (?: \b(?-i:[A-Z]{{3}})[ ] )?                    # EUR 5
    {_BEFORE}?                                     # half of 5
    {_ANY_NUMBER} (?: {_JOINER} {_BEFORE}? {_ANY_NUMBER} )*   # 5 or 6
    (?: {_AFTER} | {_OPEN_END} | [ ][bmt]m?\b(?!-\w) | \w+ )*   # 5 million, 5+, $5 m, 5x
    """
)
"""A number with all that stands close to it."""
HEDGE = _compiled(rf"{_BOUND} [ ]? {_ANY_NUMBER} | {_ANY_NUMBER} {_OPEN_END}")  # at least 5, 5 or more
OPERATION = _compiled(rf"{_MONEY} | {_FACTORIAL} | {_BEFORE} {_ANY_NUMBER} | {_ANY_NUMBER} {_AFTER}")
"""What makes a number another one: half of 5, 5 million."""
PLAIN = _compiled(rf"{_ANY_NUMBER} [ ]? (?:{_CURRENCY}|%)?")  # 5, $5, 5 €, 5%
NEGATION = _compiled(r"\b (?:not|no|never|cannot|neither|nor|unknown) \b | n't\b")
MAGNITUDE = _compiled(_MAGNITUDE)
BILLION = re.compile(r" ?B\b(?!-\w)")
"""Behind a number; where bytes are asked for, those."""
DECIMAL_COMMA = re.compile(r"(?<![\d.,])(\d+),(\d+)(?![\d.,])")  # 0,45
CLAUSE = re.compile(r"[,:;]?[^.,;:!?\n]{0,40}")  # the words after a number that may be its unit
CODE_BEFORE = re.compile(r"\b([A-Z]{3}) ?\Z")  # EUR before a number
CODE_BEHIND = re.compile(r" ?([A-Z]{3})\b")


def readable(text: str) -> str:
    """The text without tags, emphasis and LaTeX that only lays out, with signs, digit groups and powers in plain forms:
    1.2e6 for 1.2 × 10^6."""
    if _MARKUP.search(text):
        text = final.plain(_DELIMITER.sub(r"\2", _DEGREES.sub("°", text)))
        text = _EMPHASIS.sub(r"\2", _TAG.sub(" ", text))
        text = _PRODUCT.sub("·", _POWER.sub(lambda power: "²³"[int(power[1]) - 2], text))
    text = _SPACES.sub(" ", _SPACE_IN_NUMBER.sub("", text.translate(_PLAIN_SIGNS)))
    return _POWER_OF_TEN.sub(_exponent, text) if "10" in text else text


def _exponent(power: re.Match[str]) -> str:
    return f"e{power['plain'] or power['raised'].translate(_RAISED)}"
