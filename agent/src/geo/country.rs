//! The countries: ISO 3166-1 alpha-2, and which strings mean one of them.
//!
//! Two doors, on purpose different. [`CountryCode::parse`] is for what an operator wrote: strict, with a hint, since
//! a policy with a misspelt country would approve or deny nothing. [`CountryCode::from_database`] is for what a
//! database says: tolerant where the meaning is certain (`UK`), and `None` where there is no country behind the
//! letters (`EU`, `AP`, dissolved states), because unknown is a finding and a guess is not.
//!
//! Never heard of files or databases; longer than other files because it is a table.

use super::{CountryCode, CountryCodeError};

/// Every officially assigned code with its English short name, and `XK`. Sorted by code.
///
/// `XK` is not assigned by ISO; it is the user-assigned code that GeoIP2, DB-IP and the European Commission use for
/// Kosovo. Databases without it answer `RS` there, so a policy about either should name both.
pub const COUNTRIES: [([u8; 2], &str); 250] = [
    (*b"AD", "Andorra"),
    (*b"AE", "United Arab Emirates"),
    (*b"AF", "Afghanistan"),
    (*b"AG", "Antigua and Barbuda"),
    (*b"AI", "Anguilla"),
    (*b"AL", "Albania"),
    (*b"AM", "Armenia"),
    (*b"AO", "Angola"),
    (*b"AQ", "Antarctica"),
    (*b"AR", "Argentina"),
    (*b"AS", "American Samoa"),
    (*b"AT", "Austria"),
    (*b"AU", "Australia"),
    (*b"AW", "Aruba"),
    (*b"AX", "Åland Islands"),
    (*b"AZ", "Azerbaijan"),
    (*b"BA", "Bosnia and Herzegovina"),
    (*b"BB", "Barbados"),
    (*b"BD", "Bangladesh"),
    (*b"BE", "Belgium"),
    (*b"BF", "Burkina Faso"),
    (*b"BG", "Bulgaria"),
    (*b"BH", "Bahrain"),
    (*b"BI", "Burundi"),
    (*b"BJ", "Benin"),
    (*b"BL", "Saint Barthélemy"),
    (*b"BM", "Bermuda"),
    (*b"BN", "Brunei Darussalam"),
    (*b"BO", "Bolivia"),
    (*b"BQ", "Bonaire, Sint Eustatius and Saba"),
    (*b"BR", "Brazil"),
    (*b"BS", "Bahamas"),
    (*b"BT", "Bhutan"),
    (*b"BV", "Bouvet Island"),
    (*b"BW", "Botswana"),
    (*b"BY", "Belarus"),
    (*b"BZ", "Belize"),
    (*b"CA", "Canada"),
    (*b"CC", "Cocos (Keeling) Islands"),
    (*b"CD", "Congo, Democratic Republic of the"),
    (*b"CF", "Central African Republic"),
    (*b"CG", "Congo"),
    (*b"CH", "Switzerland"),
    (*b"CI", "Côte d'Ivoire"),
    (*b"CK", "Cook Islands"),
    (*b"CL", "Chile"),
    (*b"CM", "Cameroon"),
    (*b"CN", "China"),
    (*b"CO", "Colombia"),
    (*b"CR", "Costa Rica"),
    (*b"CU", "Cuba"),
    (*b"CV", "Cabo Verde"),
    (*b"CW", "Curaçao"),
    (*b"CX", "Christmas Island"),
    (*b"CY", "Cyprus"),
    (*b"CZ", "Czechia"),
    (*b"DE", "Germany"),
    (*b"DJ", "Djibouti"),
    (*b"DK", "Denmark"),
    (*b"DM", "Dominica"),
    (*b"DO", "Dominican Republic"),
    (*b"DZ", "Algeria"),
    (*b"EC", "Ecuador"),
    (*b"EE", "Estonia"),
    (*b"EG", "Egypt"),
    (*b"EH", "Western Sahara"),
    (*b"ER", "Eritrea"),
    (*b"ES", "Spain"),
    (*b"ET", "Ethiopia"),
    (*b"FI", "Finland"),
    (*b"FJ", "Fiji"),
    (*b"FK", "Falkland Islands (Malvinas)"),
    (*b"FM", "Micronesia, Federated States of"),
    (*b"FO", "Faroe Islands"),
    (*b"FR", "France"),
    (*b"GA", "Gabon"),
    (*b"GB", "United Kingdom"),
    (*b"GD", "Grenada"),
    (*b"GE", "Georgia"),
    (*b"GF", "French Guiana"),
    (*b"GG", "Guernsey"),
    (*b"GH", "Ghana"),
    (*b"GI", "Gibraltar"),
    (*b"GL", "Greenland"),
    (*b"GM", "Gambia"),
    (*b"GN", "Guinea"),
    (*b"GP", "Guadeloupe"),
    (*b"GQ", "Equatorial Guinea"),
    (*b"GR", "Greece"),
    (*b"GS", "South Georgia and the South Sandwich Islands"),
    (*b"GT", "Guatemala"),
    (*b"GU", "Guam"),
    (*b"GW", "Guinea-Bissau"),
    (*b"GY", "Guyana"),
    (*b"HK", "Hong Kong"),
    (*b"HM", "Heard Island and McDonald Islands"),
    (*b"HN", "Honduras"),
    (*b"HR", "Croatia"),
    (*b"HT", "Haiti"),
    (*b"HU", "Hungary"),
    (*b"ID", "Indonesia"),
    (*b"IE", "Ireland"),
    (*b"IL", "Israel"),
    (*b"IM", "Isle of Man"),
    (*b"IN", "India"),
    (*b"IO", "British Indian Ocean Territory"),
    (*b"IQ", "Iraq"),
    (*b"IR", "Iran"),
    (*b"IS", "Iceland"),
    (*b"IT", "Italy"),
    (*b"JE", "Jersey"),
    (*b"JM", "Jamaica"),
    (*b"JO", "Jordan"),
    (*b"JP", "Japan"),
    (*b"KE", "Kenya"),
    (*b"KG", "Kyrgyzstan"),
    (*b"KH", "Cambodia"),
    (*b"KI", "Kiribati"),
    (*b"KM", "Comoros"),
    (*b"KN", "Saint Kitts and Nevis"),
    (*b"KP", "Korea, Democratic People's Republic of"),
    (*b"KR", "Korea, Republic of"),
    (*b"KW", "Kuwait"),
    (*b"KY", "Cayman Islands"),
    (*b"KZ", "Kazakhstan"),
    (*b"LA", "Lao People's Democratic Republic"),
    (*b"LB", "Lebanon"),
    (*b"LC", "Saint Lucia"),
    (*b"LI", "Liechtenstein"),
    (*b"LK", "Sri Lanka"),
    (*b"LR", "Liberia"),
    (*b"LS", "Lesotho"),
    (*b"LT", "Lithuania"),
    (*b"LU", "Luxembourg"),
    (*b"LV", "Latvia"),
    (*b"LY", "Libya"),
    (*b"MA", "Morocco"),
    (*b"MC", "Monaco"),
    (*b"MD", "Moldova"),
    (*b"ME", "Montenegro"),
    (*b"MF", "Saint Martin (French part)"),
    (*b"MG", "Madagascar"),
    (*b"MH", "Marshall Islands"),
    (*b"MK", "North Macedonia"),
    (*b"ML", "Mali"),
    (*b"MM", "Myanmar"),
    (*b"MN", "Mongolia"),
    (*b"MO", "Macao"),
    (*b"MP", "Northern Mariana Islands"),
    (*b"MQ", "Martinique"),
    (*b"MR", "Mauritania"),
    (*b"MS", "Montserrat"),
    (*b"MT", "Malta"),
    (*b"MU", "Mauritius"),
    (*b"MV", "Maldives"),
    (*b"MW", "Malawi"),
    (*b"MX", "Mexico"),
    (*b"MY", "Malaysia"),
    (*b"MZ", "Mozambique"),
    (*b"NA", "Namibia"),
    (*b"NC", "New Caledonia"),
    (*b"NE", "Niger"),
    (*b"NF", "Norfolk Island"),
    (*b"NG", "Nigeria"),
    (*b"NI", "Nicaragua"),
    (*b"NL", "Netherlands"),
    (*b"NO", "Norway"),
    (*b"NP", "Nepal"),
    (*b"NR", "Nauru"),
    (*b"NU", "Niue"),
    (*b"NZ", "New Zealand"),
    (*b"OM", "Oman"),
    (*b"PA", "Panama"),
    (*b"PE", "Peru"),
    (*b"PF", "French Polynesia"),
    (*b"PG", "Papua New Guinea"),
    (*b"PH", "Philippines"),
    (*b"PK", "Pakistan"),
    (*b"PL", "Poland"),
    (*b"PM", "Saint Pierre and Miquelon"),
    (*b"PN", "Pitcairn"),
    (*b"PR", "Puerto Rico"),
    (*b"PS", "Palestine, State of"),
    (*b"PT", "Portugal"),
    (*b"PW", "Palau"),
    (*b"PY", "Paraguay"),
    (*b"QA", "Qatar"),
    (*b"RE", "Réunion"),
    (*b"RO", "Romania"),
    (*b"RS", "Serbia"),
    (*b"RU", "Russian Federation"),
    (*b"RW", "Rwanda"),
    (*b"SA", "Saudi Arabia"),
    (*b"SB", "Solomon Islands"),
    (*b"SC", "Seychelles"),
    (*b"SD", "Sudan"),
    (*b"SE", "Sweden"),
    (*b"SG", "Singapore"),
    (*b"SH", "Saint Helena, Ascension and Tristan da Cunha"),
    (*b"SI", "Slovenia"),
    (*b"SJ", "Svalbard and Jan Mayen"),
    (*b"SK", "Slovakia"),
    (*b"SL", "Sierra Leone"),
    (*b"SM", "San Marino"),
    (*b"SN", "Senegal"),
    (*b"SO", "Somalia"),
    (*b"SR", "Suriname"),
    (*b"SS", "South Sudan"),
    (*b"ST", "Sao Tome and Principe"),
    (*b"SV", "El Salvador"),
    (*b"SX", "Sint Maarten (Dutch part)"),
    (*b"SY", "Syrian Arab Republic"),
    (*b"SZ", "Eswatini"),
    (*b"TC", "Turks and Caicos Islands"),
    (*b"TD", "Chad"),
    (*b"TF", "French Southern Territories"),
    (*b"TG", "Togo"),
    (*b"TH", "Thailand"),
    (*b"TJ", "Tajikistan"),
    (*b"TK", "Tokelau"),
    (*b"TL", "Timor-Leste"),
    (*b"TM", "Turkmenistan"),
    (*b"TN", "Tunisia"),
    (*b"TO", "Tonga"),
    (*b"TR", "Türkiye"),
    (*b"TT", "Trinidad and Tobago"),
    (*b"TV", "Tuvalu"),
    (*b"TW", "Taiwan"),
    (*b"TZ", "Tanzania"),
    (*b"UA", "Ukraine"),
    (*b"UG", "Uganda"),
    (*b"UM", "United States Minor Outlying Islands"),
    (*b"US", "United States"),
    (*b"UY", "Uruguay"),
    (*b"UZ", "Uzbekistan"),
    (*b"VA", "Holy See"),
    (*b"VC", "Saint Vincent and the Grenadines"),
    (*b"VE", "Venezuela"),
    (*b"VG", "Virgin Islands (British)"),
    (*b"VI", "Virgin Islands (U.S.)"),
    (*b"VN", "Viet Nam"),
    (*b"VU", "Vanuatu"),
    (*b"WF", "Wallis and Futuna"),
    (*b"WS", "Samoa"),
    (*b"XK", "Kosovo"),
    (*b"YE", "Yemen"),
    (*b"YT", "Mayotte"),
    (*b"ZA", "South Africa"),
    (*b"ZM", "Zambia"),
    (*b"ZW", "Zimbabwe"),
];

impl CountryCode {
    /// Reads a code that a person wrote. Strict: upper case, assigned today.
    pub fn parse(text: &str) -> Result<Self, CountryCodeError> {
        if let &[first, second] = text.as_bytes()
            && let Some(code) = Self::from_letters([first, second])
            && code.is_assigned()
        {
            return Ok(code);
        }
        Err(CountryCodeError { seen: text.to_owned(), hint: hint(text) })
    }

    /// Reads a code as databases write it. `None` when there is no country of today behind it.
    pub fn from_database(text: &str) -> Option<Self> {
        let &[first, second] = text.as_bytes() else { return None };
        match &[first, second] {
            b"UK" => Self::from_letters(*b"GB"),
            letters => Self::from_letters(*letters).filter(Self::is_assigned),
        }
    }

    /// English short name.
    pub fn name(&self) -> Option<&'static str> {
        let idx = COUNTRIES.binary_search_by_key(&self.0, |(code, _)| *code).ok()?;
        Some(COUNTRIES[idx].1)
    }

    /// Whether the code is in [`COUNTRIES`].
    pub fn is_assigned(&self) -> bool {
        self.name().is_some()
    }

    /// All of [`COUNTRIES`], in the order of their codes.
    pub fn all() -> impl Iterator<Item = Self> {
        COUNTRIES.iter().map(|(letters, _)| Self(*letters))
    }
}

/// What the writer of `text` probably meant.
fn hint(text: &str) -> String {
    let code = text.trim().to_ascii_uppercase();
    if let Some((_, meaning)) = NOT_A_COUNTRY.iter().find(|(known, _)| *known == code) {
        return (*meaning).to_owned();
    }
    let name = text.trim().to_lowercase();
    let meant =
        |(letters, known): &&([u8; 2], &str)| letters[..] == *code.as_bytes() || known.to_lowercase() == name;
    if let Some((letters, name)) = COUNTRIES.iter().find(meant) {
        return format!("did you mean {} ({name})?", CountryCode(*letters));
    }
    "accepted are ISO 3166-1 alpha-2 codes in upper case, such as US or DE".to_owned()
}

/// Strings that look like a code and are not one, with the advice for whoever wrote it.
const NOT_A_COUNTRY: [(&str, &str); 21] = [
    ("UK", "did you mean GB (United Kingdom)?"),
    ("USA", "did you mean US (United States)?"),
    ("EL", "did you mean GR (Greece)?"),
    ("AN", "the Netherlands Antilles were dissolved in 2010; name BQ, CW and SX"),
    ("CS", "Serbia and Montenegro separated in 2006; name RS and ME"),
    ("YU", "Yugoslavia is RS and ME since 2006, besides BA, HR, MK, SI and XK"),
    ("SU", "the Soviet Union was dissolved in 1991; name its successors, such as RU"),
    ("FX", "metropolitan France is FR"),
    ("TP", "East Timor is TL since 2002"),
    ("ZR", "Zaire is CD since 1997"),
    ("BU", "Burma is MM since 1989"),
    ("DD", "the German Democratic Republic is DE since 1990"),
    ("EU", "the European Union is not a country; name its members or use a preset"),
    ("AP", "AP means \"somewhere in Asia or the Pacific\" in old databases; name the countries"),
    ("A1", "A1 means \"anonymous proxy\" in old databases, no country"),
    ("A2", "A2 means \"satellite provider\" in old databases, no country"),
    ("O1", "O1 means \"other\" in old databases, no country"),
    ("T1", "T1 means \"Tor\" in HTTP headers of a CDN, no country"),
    ("XX", "XX means \"unknown\"; what happens to unknown places is a policy setting of its own"),
    ("ZZ", "ZZ means \"unknown\"; what happens to unknown places is a policy setting of its own"),
    ("*", "a country list names countries; to approve every country, leave it out"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_complete_and_without_repetition() {
        assert!(COUNTRIES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(COUNTRIES.len(), 249 + 1, "ISO 3166-1 has 249 assigned codes, and XK is ours");
        assert!(COUNTRIES.iter().all(|(letters, _)| CountryCode::from_letters(*letters).is_some()));
    }

    #[test]
    fn every_code_of_the_table_is_accepted_and_has_its_name() {
        for (letters, name) in COUNTRIES {
            let text = std::str::from_utf8(&letters).expect("letters");
            let code = CountryCode::parse(text).expect("assigned");
            assert_eq!(code.as_str(), text);
            assert_eq!(code.name(), Some(name));
            assert_eq!(CountryCode::from_database(text), Some(code));
        }
        assert_eq!(CountryCode::all().count(), 250);
    }

    #[test]
    fn a_misspelt_code_is_refused_with_what_was_probably_meant() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let error = CountryCode::parse(text).expect_err("refused").to_string();
            assert!(error.contains(&format!("\"{text}\"")), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        check("UK", "did you mean GB (United Kingdom)?");
        check("uk", "did you mean GB (United Kingdom)?");
        check("USA", "did you mean US (United States)?");
        check("us", "did you mean US (United States)?");
        check(" DE", "did you mean DE (Germany)?");
        check("germany", "did you mean DE (Germany)?");
        check("türkiye", "did you mean TR (Türkiye)?");
        check("AN", "BQ, CW and SX");
        check("CS", "RS and ME");
        check("YU", "RS and ME");
        check("EU", "not a country");
        check("AP", "Asia or the Pacific");
        check("ZZ", "a policy setting of its own");
        check("A1", "anonymous proxy");
        check("A2", "satellite");
        check("T1", "Tor");
        check("QQ", "ISO 3166-1 alpha-2");
        check("", "ISO 3166-1 alpha-2");
        check("D", "ISO 3166-1 alpha-2");
        check("ß", "ISO 3166-1 alpha-2");
    }

    #[test]
    fn a_database_may_say_uk_and_nothing_else_is_guessed() {
        assert_eq!(CountryCode::from_database("UK"), CountryCode::from_letters(*b"GB"));
        assert_eq!(CountryCode::from_database("XK"), CountryCode::from_letters(*b"XK"));
        for text in [
            "EU", "AP", "A1", "A2", "XX", "ZZ", "??", "--", "AN", "CS", "YU", "FX", "T1", "us", "USA", "U",
            "", "Ü",
        ] {
            assert_eq!(CountryCode::from_database(text), None, "{text}");
        }
    }
}
