"""What people call columns of names and of countries, in lower case."""

SURNAMES = ("surname", "last name", "lastname", "family name")
NAMES = {*SURNAMES, "surnames", "name", "names"}  # of a corpus
COUNTRIES = {"country", "countries", "country of origin", "country name", "country of birth"}
COUNTRIES |= {"nationality", "nation", "origin", "birth country", "citizenship"}
# Of a file dropped on the page, surnames first; its other columns are not read.
COLUMNS = (
    *(*SURNAMES, "nachname", "familienname", "фамилия", "apellido", "apellidos", "cognome"),
    *("sobrenome", "nazwisko", "nom de famille"),
    *("name", "names", "full name", "fullname", "nom", "nome", "nombre"),
)
