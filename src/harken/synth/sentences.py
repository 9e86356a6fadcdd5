"""Random English sentences, from word lists and patterns.

sentence      a random sentence
vocabulary    all words of the sentences
NOUNS         the nouns of the sentences

No word in the lists contains the sound of one of the ten commands of Speech Commands (yes, no, up, down, left, right, on,
off, stop, go) in any of espeak-ng's English accents. The tests check that. A command can still occur across two words ("in
old" contains "no"); callers have to check whole sentences for it.
"""

import re

import numpy as np


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


NOUNS = _words("""
    actor address animal answer apple arm army artist aunt autumn baby badge baker balcony ball bank barrel basket
    bath beach bean bear beard bed bee bell belt bench bicycle bird blanket blood boy branch bread brick brother brush
    bucket bush butter cabin cabinet cable cafe cake camel camera candle captain card carpet carriage castle
    cat cattle ceiling cellar chain chair chapter cheese chicken chief child chimney church circle city class clerk
    cloth coach college color cousin cow cream crew cricket crowd crystal curtain customer dancer daughter
    deer dentist desk diamond dinner dish doctor door dragon drawer dress drink driver drum dust eagle ear earth egg
    elbow elephant engine engineer evening expert eye face factory family farm farmer father feather fence
    field finger fire fish flag flame flower flute fog food forest fork fountain fox frame friend fruit garden garlic
    gate giant girl glass glove grandmother grape grass guest guide guitar hair hall hammer harbour hat heart hedge
    helmet hill horse hospital hotel hour insect iron island jacket jam jar jewel journey judge jug juice jungle key
    king kitchen kitten knee knife ladder lady lake lamb lamp language lawyer leader leaf leather letter
    library lion lip list lizard luggage lunch machine magazine manager map market master match meadow meal meat
    medicine member message metal milk mill minister minute mirror monkey month moon mother mountain mouse
    mouth museum music nail neck needle neighbor nest net nurse oil orange oven owl package page paint palace paper
    parcel parent park party passenger path patient pear pen pencil pepper picture pie pig pilot pillow pipe
    plan planet plant plate platform player pocket police prince princess prize pupil queen question rabbit race radio
    railway rain raven recipe rice ring river road roof room rope rose rule sailor salad salt sand sandwich sauce
    school science scissors sea seat secret servant shadow sheep shelf shell ship shirt shoe shoulder silver
    singer sister skin sky sleeve snake sock soldier son song soup spider sponge spoon spring square squirrel
    stable stage stairs star station steam stick stone storm story stranger straw stream street student studio sugar
    suit summer sun swimmer table tail tailor taxi teacher team temple tent theatre thief thumb thunder ticket tiger
    tooth towel tower toy trader train traveller tree trousers truck tunnel turkey turtle uncle valley van vase
    vegetable vessel village violin visitor voice wagon waiter wall watch water wave weather week wheel whistle
    widow wife wind window wing winter wire witness wolf woman wood wool worker world yard year
""")
_PLACES = _words("""
    Africa America Asia Australia Berlin Canada China Cairo Chile Denmark Dublin Egypt England Finland France Germany
    Greece Havana Iceland India Ireland Israel Italy Japan Jersey Kansas Kenya Leeds Madrid Manila Mexico Milan
    Munich Paris Peru Prague Russia Spain Sweden Sydney Syria Turkey Venice Vienna Virginia Wales
""")
_NAMES = _words("""
    Adam Alan Alice Amy Andrew Anna Arthur Barbara Ben Betty Carl Charles Claire Daniel David Edith Edward Ellen Emily
    Emma Eric Eva Felix Frank Fred George Grace Hannah Harry Helen Henry Ian Isaac Jack Jacob James Jane Jennifer Jim
    Julia Karen Kate Kevin Laura Lily Linda Lisa Lucy Margaret Maria Mark Martin Mary Michael Nancy Oliver Patrick
    Paul Peter Philip Rachel Rebecca Robert Ruth Sally Samuel Sarah Simon Susan Thomas Tim Victor Walter William
""")
_QUALITIES = _words("""
    amazing ancient angry bad beautiful big bitter black blue brave brilliant broken brown careful cheap cheerful
    clean clear clever common complete cool crazy cruel curious dangerous dark dear decent delicate different difficult
    dirty dry dull eager early easy elegant empty equal evil excellent expensive extra fair faithful familiar
    famous fancy fast fat final fine first flat foolish foreign free fresh friendly full funny gentle gigantic glad
     grand grateful great green gray guilty happy hard healthy heavy helpful hidden huge hungry ideal ill
    innocent jealous kind large last late lazy legal little lively local loud lovely lucky mad magic massive modern
    narrow nasty natural naughty nearby neat nervous new nice noisy ordinary painful pale patient perfect plain
    pleasant polite poor popular pretty private proud public pure purple quick quiet rare ready real red regular rich
    rotten rough round sad safe secret serious shallow sharp shiny shy silent silly silver simple single small smart
    smooth social special splendid square stable strange strict sudden sweet tall tender terrible thick thin tired
    tiny tough typical ugly useful usual vast violent warm weak weary wet wide wild wise wonderful wooden worthy young
""")
# Verbs in the past tense, with an object and without one.
_DID_THING = _words("""
    admired asked attacked bought borrowed brought broke built burned called carried caught chased checked chose
    cleaned climbed collected cooked counted covered crossed damaged delivered described discovered drank drew dried
    earned examined expected explained feared filled fetched finished fixed forgave found gathered gave hated heard
    heated helped hid hired imagined invented invited kept kicked kissed liked lifted liked loved made measured
    mended met missed mixed moved needed observed ordered packed painted passed picked played
    praised prepared pulled punished pushed raised reached received remembered rescued saved saw served shared
    shook showed shut smelled spilled stole studied taught tasted thanked threw touched traced trusted used
    visited washed watched welcomed weighed won wrapped
""")
_DID = _words("""
    agreed appeared arrived ate bathed began bled breathed cheered cried danced died disappeared dreamed
    drifted drowned escaped failed fainted fell fished fled floated flew gathered giggled grinned hesitated hurried
    jumped knelt lasted laughed leaned listened lived marched mattered melted paused played prayed ran rested returned
    sang sank sat screamed shivered shouted sighed slept slid smiled sneezed spoke stayed struggled suffered swam
    talked trembled travelled vanished waited walked waved wept whispered whistled worked
""")
_MANNERS = _words("""
    again already always angrily badly bravely briefly calmly carefully certainly clearly cleverly early easily eagerly
    everywhere fairly finally gently gladly happily hardly heavily immediately instantly lately later loudly
    mainly merrily nearby neatly nervously nicely overnight perfectly perhaps politely poorly proudly quickly
    quietly rarely really recently sadly safely seldom sharply silently simply sincerely slightly suddenly
    sweetly terribly together usually warmly wildly wisely
""")
_WHERE = _words("""
    above across against along among around at behind below beneath beside between by from in inside
    near over past through towards under within
""")
_WHEN = _words("""
    in_the_evening last_week last_year last_winter this_summer every_day every_week for_an_hour
    for_many_years after_dinner after_lunch before_breakfast before_the_meeting during_the_journey during_the_winter
    at_half_past_three at_ten_thirty at_midday at_Easter at_Christmas in_August in_April in_March in_February
    in_December in_September in_July next_week next_year all_day all_week all_winter early_in_the_year
    ten_minutes_later two_days_later three_weeks_earlier a_year_later by_the_end_of_the_week
    before_Saturday after_Tuesday
""")
_AMOUNTS = _words("""
    two three four five six seven eight nine ten eleven twelve thirteen fifteen sixteen eighteen nineteen twenty thirty
    forty fifty sixty seventy eighty ninety twenty_three thirty_seven forty_five sixty_two seventy_eight
    eighty_four several many few a_hundred three_hundred two_thousand
""")
_FEELINGS = _words("""
    afraid angry anxious ashamed bored busy calm certain cheerful curious excited eager glad grateful happy hungry
    jealous lucky mad nervous pleased proud ready sad safe scared serious sick sleepy sorry sure thirsty tired
""")
_SUBJECTS = ("he", "she", "we", "they", "I", "you")
_PATTERNS = tuple(
    re.findall(
        r"[^|\s][^|\n]+",
        """
    The {quality} {noun} {did}.|{name} {did_thing} the {noun}.|{name} {did_thing} a {quality} {noun} {when}.
    The {noun} {where} the {noun} was {quality}.|{Subject} {did_thing} the {noun} and the {noun}.
    {When}, {name} {did} {where} the {noun}.|{Subject} never {did_thing} the {noun}, but {name} did.
    Why was the {noun} {quality}?|Where is the {quality} {noun}?|Who {did_thing} my {noun} {when}?
    There were {amount} of them, each {quality} and {quality}.|{Amount} men {did} {where} the {quality} {noun}.
    {name} is {feeling} because the {noun} is {quality}.|{manner}, the {noun} {did}.|We {did} {manner} in {place}.
    If the {noun} is {quality}, {name} will be {feeling}.|The {noun} of {place} is {quality} and {quality}.
    {name} and {name} {did} {where} the {noun} {when}.|When {subject} {did_thing} the {noun}, it was {quality}.
    "Is it a {noun}?" {name} asked {manner}.|A {quality} {noun} {did} {where} my {noun}, and {subject} {did}.
    Please give me the {quality} {noun}.|Will you visit {place} {when}?|That {noun} will never be {quality}.
    {name} travelled from {place} to {place} {when}.|My {noun} is {amount} years younger than his {noun}.
    It takes {amount} minutes to walk from the {noun} to the {noun}.|{Subject} {did} {when} and {did} {manner}.
    After the {noun}, {name} {did_thing} {amount} letters.|Have you seen my {noun} in the {noun}?
    What a {quality} {noun}!|The {noun} and the {noun} {did} {where} a {quality} {noun} {when}.
    {name} said that the {noun} in {place} is {quality}.|Put the {quality} {noun} in the {noun}, please.
    Her {noun} was as {quality} as a {noun}.|The {quality}, {quality} {noun} {did_thing} the {noun} {manner}.
    {Subject} will sell the {noun} when the {noun} is {quality}.|{name}, are you {feeling}?
    This is a {quality} {noun}.
""",
    )
)
_LISTS = {
    "noun": NOUNS,
    "place": _PLACES,
    "name": _NAMES,
    "quality": _QUALITIES,
    "did_thing": _DID_THING,
    "did": _DID,
    "manner": _MANNERS,
    "where": _WHERE,
    "when": _WHEN,
    "amount": _AMOUNTS,
    "feeling": _FEELINGS,
    "subject": _SUBJECTS,
}


def sentence(rng: np.random.Generator) -> str:
    """Return a random sentence, with its period, question mark or exclamation mark."""

    def fill(slot: re.Match[str]) -> str:
        words = _LISTS[slot[1].lower()]
        word = words[rng.integers(len(words))]
        return word[0].upper() + word[1:] if slot[1][0].isupper() else word

    text = re.sub(r"\{(\w+)\}", fill, _PATTERNS[rng.integers(len(_PATTERNS))])
    # "a apple" becomes "an apple". In these lists, a vowel letter is a vowel sound, except for "hour" and a "u" like in "use".
    text = re.sub(r"\b([Aa]) (?=[aeio]|hour|ugl|unc)", r"\1n ", text)
    return text[0].upper() + text[1:]


def vocabulary() -> list[str]:
    """Return all words of the sentences, sorted, in lower case."""
    fixed = " ".join(re.sub(r"\{\w+\}", " ", pattern) for pattern in _PATTERNS)
    listed = " ".join(word for words in _LISTS.values() for word in words)
    return sorted({word.lower() for word in re.findall(r"[A-Za-z]+", f"{fixed} {listed} an")})
