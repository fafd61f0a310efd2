//! Country lists with a name, a date and a source.
//!
//! Every list is written out in full. Territories with codes of their own (`HK`, `MO`, `PR`, `GU`, `RE`...) are
//! listed one by one and never inferred from a parent state, because databases report the territory's code. For
//! the same reason `TW` is never part of `CN`.
//!
//! A preset is network location evidence and not a legal determination; each one says in its note what it leaves
//! out. Its canonical text has a SHA-256, so that two hosts can show that they mean the same list.

use std::{collections::BTreeSet, fmt::Write as _};

use sha2::{Digest as _, Sha256};

use crate::geo::CountryCode;

/// What a list of countries does to a country that is not on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Countries on the list are approved, all others are not.
    Allow,
    /// Countries on the list are denied, all others are approved.
    Deny,
}

impl Mode {
    /// The words of `homeport check`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow list",
            Self::Deny => "deny list",
        }
    }
}

/// A named, dated, sourced list of countries.
#[derive(Debug, PartialEq, Eq)]
pub struct Preset {
    /// The word in the configuration.
    pub name: &'static str,
    /// Whether the list approves or denies.
    pub mode: Mode,
    /// Codes, separated by spaces.
    codes: &'static str,
    /// The codes among them that the basis covers only in part.
    partial: &'static str,
    /// Raised whenever the codes or their marks change.
    pub version: u32,
    /// Day of the newest legal text the list reflects; where its basis has none, the day it was drawn up.
    pub effective: &'static str,
    /// What the list rests on.
    pub basis: &'static str,
    /// Where that can be read; empty where it is nothing public.
    pub source: &'static str,
    /// What a person should know before relying on it.
    pub note: &'static str,
}

impl Preset {
    /// The preset called `name`.
    pub fn find(name: &str) -> Option<&'static Self> {
        PRESETS.iter().find(|preset| preset.name == name)
    }

    /// The countries of the list.
    pub fn countries(&self) -> BTreeSet<CountryCode> {
        codes(self.codes).collect()
    }

    /// The countries that the basis covers only in part: some sectors or some recipients.
    pub fn partial_countries(&self) -> BTreeSet<CountryCode> {
        codes(self.partial).collect()
    }

    /// Whether `country` is on the list.
    pub fn contains(&self, country: CountryCode) -> bool {
        codes(self.codes).any(|code| code == country)
    }

    /// Whether `country` is on the list, but only in part.
    pub fn contains_in_part(&self, country: CountryCode) -> bool {
        codes(self.partial).any(|code| code == country)
    }

    /// The text that [`Preset::sha256`] is taken over: one `key value` line each, codes sorted.
    pub fn canonical_text(&self) -> String {
        let join = |set: BTreeSet<CountryCode>| {
            set.iter().map(|code| code.as_str().to_owned()).collect::<Vec<_>>().join(" ")
        };
        let mut text = String::new();
        let mode = match self.mode {
            Mode::Allow => "allow",
            Mode::Deny => "deny",
        };
        for (key, value) in [
            ("preset", self.name.to_owned()),
            ("version", self.version.to_string()),
            ("effective", self.effective.to_owned()),
            ("mode", mode.to_owned()),
            ("countries", join(self.countries())),
            ("partial", join(self.partial_countries())),
            ("source", self.source.to_owned()),
        ] {
            let _ = writeln!(text, "{key} {value}");
        }
        text
    }

    /// SHA-256 of the canonical text, 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        hexadecimal(&Sha256::digest(self.canonical_text()))
    }
}

/// Lower-case hexadecimal digits of a digest.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn codes(text: &'static str) -> impl Iterator<Item = CountryCode> {
    text.split_ascii_whitespace()
        .filter_map(|word| CountryCode::from_letters(word.as_bytes().try_into().ok()?))
}

/// European Economic Area with the territories where EU law applies (Art. 355 TFEU).
///
/// A macro, because `concat!` takes only literals and the lists below contain this one.
macro_rules! eea {
    () => {
        "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK \
         IS LI NO \
         AX GF GP MF MQ RE YT"
    };
}

const US_STATEMENT: &str =
    "https://www.sec.gov/Archives/edgar/data/789019/000119312520207517/d49621dex991.htm";
const ADEQUACY_DECISIONS: &str = "https://commission.europa.eu/law/law-topic/data-protection/\
     international-dimension-data-protection/adequacy-decisions_en";
const FOREIGN_ADVERSARIES: &str = "https://www.wikiwand.com/en/articles/Foreign_adversaries";
const DRAWN_UP: &str = "2026-11-01";

/// An allow list of one country, which rests on the operator's own obligation.
const fn only(name: &'static str, codes: &'static str, basis: &'static str, source: &'static str) -> Preset {
    let note = "One code. Special regions and territories with codes of their own are not included: add them \
                with approved_countries if they are meant.";
    Preset {
        name,
        mode: Mode::Allow,
        codes,
        partial: "",
        version: 1,
        effective: DRAWN_UP,
        basis,
        source,
        note,
    }
}

/// Every preset, in the order of the documentation.
pub static PRESETS: &[Preset] = &[
    Preset {
        name: "us-only",
        mode: Mode::Allow,
        codes: "US",
        partial: "",
        version: 1,
        effective: DRAWN_UP,
        basis: "Pledge of 2020: private data of American users is transferred to and remains in the United States",
        source: US_STATEMENT,
        note: "The fifty states and the District of Columbia. Puerto Rico, Guam and other territories have codes \
               of their own: see us-jurisdiction.",
    },
    Preset {
        name: "us-jurisdiction",
        mode: Mode::Allow,
        codes: "US AS GU MP PR UM VI",
        partial: "",
        version: 1,
        effective: DRAWN_UP,
        basis: "NIST SP 800-53 SA-9(5) and SA-9(8) as used by FedRAMP: United States, its territories, or where \
                there is US jurisdiction",
        source: "https://www.myctrl.tools/frameworks/dod-srg/sa-9-5",
        note: "The choice of codes is homeport's; embassies and military bases abroad have no code.",
    },
    Preset {
        name: "us-ca-au-nz",
        mode: Mode::Allow,
        codes: "US CA AU NZ",
        partial: "",
        version: 1,
        effective: DRAWN_UP,
        basis: "Scope of the 2020 statement: United States, Canada, Australia, New Zealand",
        source: US_STATEMENT,
        note: "Territories with codes of their own are not included.",
    },
    Preset {
        name: "us-dsp-countries-of-concern",
        mode: Mode::Deny,
        codes: "CN HK MO CU IR KP RU VE",
        partial: "",
        version: 1,
        effective: "2026-04-05",
        basis: "28 CFR 202.601 (DOJ Data Security Program); China includes Hong Kong and Macau",
        source: "https://lexbuild.dev/ecfr/title-28/chapter-I/part-202/section-202.601",
        note: "The rule also covers persons owned by or resident in these countries anywhere in the world. An \
               address cannot show that: add denied_asns and denied_networks for known covered persons.",
    },
    Preset {
        name: "us-padfa",
        mode: Mode::Deny,
        codes: "CN HK MO IR KP RU",
        partial: "",
        version: 1,
        effective: "2024-06-23",
        basis: "Protecting Americans' Data from Foreign Adversaries Act of 2024; 10 USC 4872(d)(2)",
        source: "https://akingump.com/en/insights/alerts/protecting-americans-data-from-foreign-adversaries-act-of-2024",
        note: "HK and MO are homeport's choice. Entities controlled from these countries (20 %) are not visible \
               in an address.",
    },
    Preset {
        name: "us-icts-foreign-adversary",
        mode: Mode::Deny,
        codes: "CN HK MO CU IR KP RU",
        partial: "",
        version: 1,
        effective: DRAWN_UP,
        basis: "15 CFR 791.4",
        source: FOREIGN_ADVERSARIES,
        note: "The rule names the \"Maduro Regime\", a person and not a country: VE is not on this list.",
    },
    Preset {
        name: "gdpr-eea",
        mode: Mode::Allow,
        codes: eea!(),
        partial: "",
        version: 1,
        effective: DRAWN_UP,
        basis: "GDPR chapter V: no transfer rules within the EEA; territory by Art. 355 TFEU",
        source: "https://eur-lex.europa.eu/legal-content/EN/TXT/?uri=LEGISSUM:outermost_regions",
        note: "30 states, the outermost regions and Åland. Overseas countries and territories and the Faroe \
               Islands are outside.",
    },
    Preset {
        name: "gdpr-adequacy",
        mode: Mode::Allow,
        codes: concat!(eea!(), " AD AR BR CA CH FO GB GG IL IM JE JP KR NZ US UY"),
        partial: "CA JP KR US",
        version: 1,
        effective: "2026-01-26",
        basis: "GDPR Art. 45 decisions, with Brazil (EU) 2026/179",
        source: ADEQUACY_DECISIONS,
        note: "Partial: CA commercial organisations, US participants of the Data Privacy Framework (appeal \
               pending), JP and KR with limits of scope. An address does not show which recipient is covered. \
               The European Patent Organisation has no country code.",
    },
    Preset {
        name: "gdpr-adequacy-strict",
        mode: Mode::Allow,
        codes: concat!(eea!(), " AD AR BR CH FO GB GG IL IM JE NZ UY"),
        partial: "",
        version: 1,
        effective: "2026-01-26",
        basis: "gdpr-adequacy without the countries covered only in part",
        source: ADEQUACY_DECISIONS,
        note: "Leaving out CA, JP, KR and US is homeport's choice.",
    },
    Preset {
        name: "uk-adequacy",
        mode: Mode::Allow,
        codes: concat!("GB ", eea!(), " GI AD AR CA CH GG IL IM JE JP KR NZ US UY"),
        partial: "CA JP US",
        version: 1,
        effective: DRAWN_UP,
        basis: "UK adequacy regulations",
        source: "https://handleygill.co.uk/uk-adequacy-regulations",
        note: "Partial: CA (PIPEDA), JP (APPI), US (data bridge). FO and BR are left out until verified.",
    },
    Preset {
        name: "eea-uk-ch",
        mode: Mode::Allow,
        codes: concat!(eea!(), " GB CH"),
        partial: "",
        version: 1,
        effective: DRAWN_UP,
        basis: "Area of Project Clover: EEA, United Kingdom, Switzerland",
        source: "https://mobilemarketingmagazine.com/\
                 tiktok-opens-dublin-data-centre-as-part-of-project-clover-european-data-security-initiative/",
        note: "Gibraltar, the Channel Islands and the Isle of Man are not included.",
    },
    Preset {
        name: "five-eyes",
        mode: Mode::Allow,
        codes: "AU CA GB NZ US",
        partial: "",
        version: 1,
        effective: DRAWN_UP,
        basis: "Members of the intelligence alliance",
        source: "https://www.igis.gov.au/about/cooperation/fiorc",
        note: "An alliance, not a privacy regime.",
    },
    only(
        "cn-only",
        "CN",
        "PIPL; HK and MO are left to the operator",
        "https://www.jonesday.com/en/insights/2024/03/china-finalizes-provisions-on-crossborder-data-transfer",
    ),
    only(
        "ru-only",
        "RU",
        "Federal laws 152-FZ, 242-FZ and 23-FZ",
        "https://b1.ru/en/insights/law-messenger/localization-of-personal-data-of-russian-citizens-6-march-2025/",
    ),
    only(
        "in-only",
        "IN",
        "Digital Personal Data Protection Act",
        "https://ksandk.com/data-protection-and-data-privacy/indias-new-cross-border-data-transfer-framework",
    ),
    only(
        "au-only",
        "AU",
        "Australian Privacy Principle 8",
        "https://oaic.gov.au/privacy/australian-privacy-principles/australian-privacy-principles-guidelines/\
         chapter-8-app-8-cross-border-disclosure-of-personal-information",
    ),
    only(
        "ca-only",
        "CA",
        "Accountability principle of Canadian privacy law",
        "https://priv.gc.ca/en/opc-actions-and-decisions/research/explore-privacy-research/2021/tbdf_app2",
    ),
    only(
        "nz-only",
        "NZ",
        "Information Privacy Principle 12",
        "https://www.minterellison.co.nz/insights/offshore-data-transfers-under-the-new-privacy-act",
    ),
    only("ch-only", "CH", "The operator's own obligation", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    const EEA: &str = "AT AX BE BG CY CZ DE DK EE ES FI FR GF GP GR HR HU IE IS IT LI LT LU LV MF MQ MT NL NO \
                       PL PT RE RO SE SI SK YT";

    #[test]
    fn each_preset_is_exactly_the_list_of_its_table() {
        let check = |name: &str, mode: Mode, expected: &str| {
            let preset = Preset::find(name).expect(name);
            let mut expected: Vec<&str> = expected.split_ascii_whitespace().collect();
            expected.sort_unstable();
            let seen: Vec<String> = preset.countries().iter().map(ToString::to_string).collect();
            assert_eq!(seen, expected, "{name}");
            assert_eq!(preset.mode, mode, "{name}");
        };
        let adequacy = format!("{EEA} AD AR BR CA CH FO GB GG IL IM JE JP KR NZ US UY");
        check("us-only", Mode::Allow, "US");
        check("us-jurisdiction", Mode::Allow, "US AS GU MP PR UM VI");
        check("us-ca-au-nz", Mode::Allow, "US CA AU NZ");
        check("us-dsp-countries-of-concern", Mode::Deny, "CN HK MO CU IR KP RU VE");
        check("us-padfa", Mode::Deny, "CN HK MO IR KP RU");
        check("us-icts-foreign-adversary", Mode::Deny, "CN HK MO CU IR KP RU");
        check("gdpr-eea", Mode::Allow, EEA);
        check("gdpr-adequacy", Mode::Allow, &adequacy);
        check("gdpr-adequacy-strict", Mode::Allow, &format!("{EEA} AD AR BR CH FO GB GG IL IM JE NZ UY"));
        check("uk-adequacy", Mode::Allow, &format!("GB {EEA} GI AD AR CA CH GG IL IM JE JP KR NZ US UY"));
        check("eea-uk-ch", Mode::Allow, &format!("{EEA} GB CH"));
        check("five-eyes", Mode::Allow, "AU CA GB NZ US");
        for country in ["CN", "RU", "IN", "AU", "CA", "NZ", "CH"] {
            check(&format!("{}-only", country.to_lowercase()), Mode::Allow, country);
        }
        assert_eq!(PRESETS.len(), 19, "a new preset belongs into this test");
        assert_eq!(Preset::find("gdpr-adequacy").map(|preset| preset.countries().len()), Some(53));
    }

    #[test]
    fn every_word_of_a_list_is_a_code_and_appears_once() {
        for preset in PRESETS {
            let words = preset.codes.split_ascii_whitespace().count();
            assert_eq!(words, preset.countries().len(), "{}", preset.name);
            assert!(preset.partial_countries().is_subset(&preset.countries()), "{}", preset.name);
            assert!(!preset.contains(CountryCode::from_letters(*b"TW").expect("letters")), "{}", preset.name);
        }
    }

    #[test]
    fn countries_covered_in_part_are_marked() {
        let marked = |name| Preset::find(name).expect("known").partial;
        assert_eq!(marked("gdpr-adequacy"), "CA JP KR US");
        assert_eq!(marked("uk-adequacy"), "CA JP US");
        assert_eq!(marked("gdpr-adequacy-strict"), "");
    }

    #[test]
    fn every_preset_names_its_source_and_a_day() {
        for preset in PRESETS {
            let has_source = preset.source.starts_with("https://") && !preset.source.contains(' ');
            assert!(has_source || preset.name == "ch-only", "{}", preset.name);
            assert_eq!(preset.effective.len(), 10, "{}", preset.name);
            assert!(!preset.basis.is_empty() && !preset.note.is_empty(), "{}", preset.name);
        }
    }

    #[test]
    fn the_hash_of_a_preset_is_stable() {
        let us_only = Preset::find("us-only").expect("known");
        assert_eq!(
            us_only.canonical_text(),
            format!(
                "preset us-only\nversion 1\neffective 2026-11-01\nmode allow\ncountries US\npartial \nsource \
                 {US_STATEMENT}\n"
            )
        );
        assert_eq!(us_only.sha256(), hexadecimal(&Sha256::digest(us_only.canonical_text())));
        let mut hashes: Vec<String> = PRESETS.iter().map(Preset::sha256).collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), PRESETS.len(), "two presets share a hash");
    }
}
