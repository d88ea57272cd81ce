"""What people call columns of names and of countries, in lower case."""

_SURNAME = ("surname", "last name", "lastname", "family name")
_NAME = ("name", "names")
CORPUS_NAMES = {*_SURNAME, "surnames", *_NAME}
COUNTRIES = {"country", "countries", "country of origin", "country name", "country of birth"}
COUNTRIES |= {"nationality", "nation", "origin", "birth country", "citizenship"}
# Of a file dropped on the page: the first of these that it has is read, so surnames come first.
UPLOAD_NAMES = (
    *(*_SURNAME, "nachname", "familienname", "фамилия", "apellido", "apellidos", "cognome"),
    *("sobrenome", "nazwisko", "nom de famille"),
    *(*_NAME, "full name", "fullname", "nom", "nome", "nombre"),
)
