//! Which rules an issuer may have.

use super::*;

#[test]
fn rules_of_an_issuer_are_checked() {
    let check = |change: fn(&mut IssuerParts), expected: Option<IssuerError>| {
        let mut parts = parts(ISSUER);
        change(&mut parts);
        assert_eq!(Issuer::new(parts).err(), expected);
    };
    let url = || Arc::<str>::from(ISSUER);
    check(|_| (), None);
    check(|parts| parts.url = Arc::from("http://127.0.0.1:1/t"), None);
    check(
        |parts| parts.url = Arc::from("http://as.example"),
        Some(IssuerError::Url(Arc::from("http://as.example"))),
    );
    check(|parts| parts.algorithms.clear(), Some(IssuerError::Algorithms(url())));
    check(
        |parts| parts.token_types = Some(vec!["at+jwt".to_owned(), "jwt".to_owned()]),
        Some(IssuerError::TokenType(url(), "jwt".to_owned())),
    );
    check(
        |parts| parts.token_types = Some(Vec::new()),
        Some(IssuerError::TokenType(url(), String::new())),
    );
    check(
        |parts| parts.identity = IdentityForm::HumanClaim("initiator".to_owned()),
        None,
    );
    check(
        |parts| parts.identity = IdentityForm::HumanClaim("sub".to_owned()),
        Some(IssuerError::Claim(url(), "sub".to_owned())),
    );
    check(
        |parts| parts.roles_claim = Some("/scope".to_owned()),
        Some(IssuerError::Claim(url(), "/scope".to_owned())),
    );
    check(
        |parts| parts.groups_claim = Some(String::new()),
        Some(IssuerError::Claim(url(), String::new())),
    );
    check(
        |parts| parts.token_lifetime_max = Some(Duration::from_millis(999)),
        Some(IssuerError::Lifetime(url())),
    );
    let human = || IdentityForm::HumanClaim("initiator".to_owned());
    for (identity, roles_from, expected) in [
        (IdentityForm::Act, None, Ok(RolesFrom::Token)),
        (human(), None, Ok(RolesFrom::PolicyData)),
        (
            IdentityForm::Act,
            Some(RolesFrom::PolicyData),
            Ok(RolesFrom::PolicyData),
        ),
        (human(), Some(RolesFrom::PolicyData), Ok(RolesFrom::PolicyData)),
        (human(), Some(RolesFrom::Token), Err(IssuerError::Roles(url()))),
    ] {
        let mut parts = parts(ISSUER);
        (parts.identity, parts.roles_from) = (identity, roles_from);
        assert_eq!(Issuer::new(parts).map(|issuer| issuer.roles_from()), expected);
    }
    let marks = [
        ("kind", MarkTest::Is("service".to_owned()), true),
        ("/account/kind", MarkTest::StartsWith("svc".to_owned()), true),
        ("sub", MarkTest::IsClaim("oid".to_owned()), true),
        ("sub", MarkTest::IsClientWith(String::new()), true),
        ("preferred_username", MarkTest::StartsWith("svc-".to_owned()), true),
        ("kind", MarkTest::Is(String::new()), false),
        ("kind", MarkTest::StartsWith(String::new()), false),
        ("kind", MarkTest::IsClaim("kind".to_owned()), false),
        ("kind", MarkTest::IsClaim("exp".to_owned()), false),
        ("aud", MarkTest::Is("gate".to_owned()), false),
        ("", MarkTest::Is("service".to_owned()), false),
    ];
    for (claim, test, good) in marks {
        let mut parts = parts(ISSUER);
        let claim = claim.to_owned();
        parts.machine_marks = vec![MachineMark {
            claim: claim.clone(),
            test,
        }];
        let expected = (!good).then(|| IssuerError::Mark(url(), claim));
        assert_eq!(Issuer::new(parts).err(), expected);
    }
    // Each place takes the claims that are made for it, and no other that is.
    type Place = fn(&mut IssuerParts) -> &mut Option<String>;
    let places: [(Place, &[&str]); 6] = [
        (|parts| &mut parts.subject_claim, &["sub"]),
        (|parts| &mut parts.client_claim, &["client_id", "azp"]),
        (|parts| &mut parts.scope_claim, &["scope", "scp"]),
        (|parts| &mut parts.groups_claim, &[]),
        (|parts| &mut parts.roles_claim, &[]),
        (|parts| &mut parts.danger_audience_from, &["client_id", "azp"]),
    ];
    let taken = [
        "sub",
        "client_id",
        "azp",
        "scope",
        "scp",
        "aud",
        "iss",
        "exp",
        "typ",
        "/",
        "",
        "/a~2b",
        "/~",
    ];
    for (place, own) in places {
        let outcome = |claim: &str| {
            let mut parts = parts(ISSUER);
            *place(&mut parts) = Some(claim.to_owned());
            Issuer::new(parts).map(|_| ())
        };
        for claim in taken {
            let expected = if own.contains(&claim) {
                Ok(())
            } else {
                Err(IssuerError::Claim(url(), claim.to_owned()))
            };
            assert_eq!(outcome(claim), expected, "{claim}");
        }
        for claim in [
            "oid",
            "permissions",
            "cognito:groups",
            "https://as.example/roles",
            "/a/b~1c~0d",
            "/act/sub",
        ] {
            assert_eq!(outcome(claim), Ok(()), "{claim}");
        }
    }
    for claim in ["email", "/email", "/profile/email", "preferred_username", "upn"] {
        let mutable = Some(IssuerError::ClaimMutable(url(), claim.to_owned()));
        let mut subject = parts(ISSUER);
        subject.subject_claim = Some(claim.to_owned());
        assert_eq!(Issuer::new(subject).err(), mutable);
        let mut human = parts(ISSUER);
        human.identity = IdentityForm::HumanClaim(claim.to_owned());
        assert_eq!(Issuer::new(human).err(), mutable);
    }
}
