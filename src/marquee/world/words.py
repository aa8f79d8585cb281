"""The words of the simulated market: what its categories, tags and titles are called."""

AGE_BANDS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
REGIONS = ("north", "south", "east", "west", "coast", "lakes", "hills", "city")
DEVICES = ("phone", "desktop", "tablet")
SURFACES = ("feed", "sidebar")

# Category -> its tags; every tag is also a word of titles.
CATEGORIES: dict[str, tuple[str, ...]] = {
    "cooking": ("baking", "noodles", "barbecue", "vegan"),
    "travel": ("islands", "railways", "camping", "museums"),
    "sport": ("football", "cycling", "climbing", "tennis"),
    "finance": ("savings", "mortgages", "shares", "pensions"),
    "garden": ("roses", "vegetables", "ponds", "balconies"),
    "music": ("jazz", "opera", "guitars", "festivals"),
    "film": ("thrillers", "comedies", "westerns", "documentaries"),
    "science": ("planets", "fossils", "genes", "oceans"),
    "fashion": ("sneakers", "vintage", "jewellery", "denim"),
    "games": ("puzzles", "chess", "racing", "dungeons"),
    "health": ("running", "sleep", "yoga", "allergies"),
    "technology": ("robots", "cameras", "laptops", "drones"),
}
STYLES = ("beginners", "experts", "weekly", "local")
TITLE_FORMS = (
    "{adjective} {tag} for {style}: {category} notes",
    "The {adjective} guide to {tag} and {other}",
    "{category}: {adjective} {tag} this season",
    "What {style} should know about {tag}",
    "{adjective} {tag}, {adjective2} {other}",
)
AD_FORMS = (
    "{adjective} {tag} at half the price",
    "Try {adjective} {tag} and {other} today",
    "{category} sale: {adjective} {tag}",
)
ADJECTIVES = (
    "quiet", "golden", "honest", "hidden", "modern", "classic", "clever", "brave", "simple", "secret",
    "northern", "gentle", "wild", "bright", "lasting", "famous", "forgotten", "perfect", "little", "great",
)  # fmt: skip
