//! JSON Web Tokens (RFC 7519): issued here, and checked here.
//!
//! Issuer and server are one program, so one secret key (HS256) is enough. Where they are two, let the issuer sign with a
//! private key (`EdDSA`, `ES256`) of which the server knows only the public one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use serde::{Deserialize, Serialize};

use crate::accounts::{Account, Role};

const ISSUER: &str = "https://issuer.example";
/// The service for which the tokens are issued. A token for another service is refused, although the same issuer has signed it.
const AUDIENCE: &str = "rooms";
const KEY_BYTES: usize = 32;

/// The content of a token, which is what the server knows of a connection.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Claims {
    /// The id of the account.
    pub(crate) sub: String,
    pub(crate) name: String,
    pub(crate) role: Role,
    iss: String,
    aud: String,
    iat: u64,
    /// Seconds since 1970 (RFC 7519 section 4.1.4).
    pub(crate) exp: u64,
}

impl Claims {
    /// Returns whether the token has expired. It is valid before the second `exp`, not in it.
    pub(crate) fn is_expired(&self) -> bool {
        self.exp <= now()
    }
}

/// The reason for refusing a token. Each has a name for pages, and a text for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    Missing,
    Signature,
    Expired,
    Foreign,
    Malformed,
}

impl Refused {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Refused::Missing => "missing",
            Refused::Signature => "signature",
            Refused::Expired => "expired",
            Refused::Foreign => "foreign",
            Refused::Malformed => "malformed",
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Refused::Missing => "no token came with the request",
            Refused::Signature => "the token is not signed by our issuer",
            Refused::Expired => "the token has expired",
            Refused::Foreign => "the token is for another service, or from another issuer",
            Refused::Malformed => "this is no token",
        }
    }
}

/// Issues and checks tokens. Clones share the key.
#[derive(Clone)]
pub(crate) struct Tokens(Arc<Inner>);

struct Inner {
    signing: EncodingKey,
    checking: DecodingKey,
    rules: Validation,
    lifetime: u64,
}

impl Tokens {
    pub(crate) fn new(secret: Option<&str>, lifetime: u64) -> Result<Tokens> {
        let mut key = secret.map(|secret| secret.as_bytes().to_vec()).unwrap_or_default();
        if secret.is_none() {
            key.resize(KEY_BYTES, 0);
            getrandom::fill(&mut key).context("no randomness for a key")?;
        }
        anyhow::ensure!(key.len() >= KEY_BYTES, "a secret has {KEY_BYTES} bytes at least (RFC 7518 section 3.2)");
        // The server fixes the algorithm: a token that names another one, or none, is refused.
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_issuer(&[ISSUER]);
        rules.set_audience(&[AUDIENCE]);
        rules.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        // The same clock signs and checks, so no tolerance for different clocks is needed.
        rules.leeway = 0;
        let (signing, checking) = (EncodingKey::from_secret(&key)?, DecodingKey::from_secret(&key)?);
        Ok(Tokens(Arc::new(Inner { signing, checking, rules, lifetime })))
    }

    /// A new token for an account.
    pub(crate) fn issue(&self, account: &Account) -> Result<String> {
        let iat = now();
        let claims = Claims {
            sub: account.id.to_owned(),
            name: account.name.to_owned(),
            role: account.role,
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            iat,
            exp: iat + self.0.lifetime,
        };
        encode(&Header::new(Algorithm::HS256), &claims, &self.0.signing).context("cannot sign a token")
    }

    /// Returns the content of a token that is one of ours and still valid.
    pub(crate) fn check(&self, token: Option<&str>) -> Result<Claims, Refused> {
        let token = token.filter(|token| !token.is_empty()).ok_or(Refused::Missing)?;
        let decoded = decode::<Claims>(token, &self.0.checking, &self.0.rules).map_err(|error| match error.kind() {
            ErrorKind::InvalidSignature | ErrorKind::InvalidAlgorithm => Refused::Signature,
            ErrorKind::ExpiredSignature => Refused::Expired,
            ErrorKind::InvalidIssuer | ErrorKind::InvalidAudience => Refused::Foreign,
            _ => Refused::Malformed,
        })?;
        // The library also accepts a token in the second `exp`.
        if decoded.claims.is_expired() { Err(Refused::Expired) } else { Ok(decoded.claims) }
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn tokens(secret: &str, lifetime: u64) -> Tokens {
        Tokens::new(Some(secret), lifetime).unwrap()
    }

    fn issued(secret: &str, lifetime: u64) -> String {
        tokens(secret, lifetime).issue(accounts::find("bob").unwrap()).unwrap()
    }

    fn refusal(token: &str) -> Refused {
        tokens(SECRET, 60).check(Some(token)).unwrap_err()
    }

    fn signed(claims: &serde_json::Value) -> String {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn a_token_says_who_it_was_issued_for() {
        let claims = tokens(SECRET, 60).check(Some(&issued(SECRET, 60))).unwrap();
        assert_eq!((&*claims.sub, claims.role, claims.exp - claims.iat), ("bob", Role::Member, 60));
    }

    #[test]
    fn a_token_that_another_key_signed_is_refused() {
        assert_eq!(refusal(&issued("another secret, just as long as ours", 60)), Refused::Signature);
    }

    #[test]
    fn a_token_is_refused_from_its_last_second_on() {
        assert_eq!(refusal(&issued(SECRET, 0)), Refused::Expired);
    }

    #[test]
    fn a_token_for_another_service_is_refused() {
        let claims = serde_json::json!({
            "sub": "bob", "name": "Bob", "role": "admin", "iss": ISSUER, "aud": "billing", "iat": now(), "exp": now() + 60,
        });
        assert_eq!(refusal(&signed(&claims)), Refused::Foreign);
    }

    #[test]
    fn a_token_that_never_expires_is_refused() {
        let claims = serde_json::json!({
            "sub": "bob", "name": "Bob", "role": "admin", "iss": ISSUER, "aud": AUDIENCE, "iat": now(),
        });
        assert_eq!(refusal(&signed(&claims)), Refused::Malformed);
    }

    #[test]
    fn a_malformed_token_is_refused() {
        assert_eq!(refusal("nonsense"), Refused::Malformed);
        assert_eq!(tokens(SECRET, 60).check(Some("")).unwrap_err(), Refused::Missing);
        // {"alg":"none"}, with the claims of an admin.
        assert_ne!(refusal("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJyb2xlIjoiYWRtaW4ifQ.").name(), "");
    }

    #[test]
    fn a_short_secret_is_refused() {
        assert!(Tokens::new(Some("letmein"), 60).is_err());
    }
}
