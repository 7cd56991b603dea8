//! A camera's address without the user and password that may stand in it.

use crate::secret::Secret;

/// An RTSP address, apart from who calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// `rtsp://host:port/path`, free of secrets.
    pub location: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
}

impl Address {
    /// Takes an address apart. The last `@` before the path ends the password, so that passwords with `@` and `#` need no
    /// escapes; a slash in one is `%2F`, a percent sign `%25`.
    ///
    /// # Errors
    /// It is not `rtsp://` or `rtsps://` with a host. The message does not repeat the address, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        if !["rtsp", "rtsps", "rtspt", "rtspu"].contains(&scheme) {
            return Err("a camera's address begins with rtsp:// or rtsps://".into());
        }
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (given, host) = match host.rsplit_once('@') {
            Some((given, host)) => (Some(given), host),
            None => (None, host),
        };
        if host.is_empty() || host.starts_with(':') || host.contains(char::is_whitespace) {
            return Err("a camera's address names a host: rtsp://HOST/PATH".into());
        }
        let (user, password) = match given.map(|given| given.split_once(':').ok_or(given)) {
            None => (None, None),
            Some(Err(user)) => (Some(user), None),
            Some(Ok((user, password))) => (Some(user), Some(password)),
        };
        Ok(Self {
            location: format!("{scheme}://{host}{path}"),
            user: user.map(unescape),
            password: password.map(|password| unescape(password).into()),
        })
    }
}

/// Replaces `%XX`; what is no such sequence stays, and so does what would not be UTF-8.
fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = text
            .get(at + 1..at + 3)
            .filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_taken_out() {
        for (text, location, user, password) in [
            ("rtsp://camera/stream", "rtsp://camera/stream", None, None),
            (
                "rtsp://a:b@camera:554/s@1",
                "rtsp://camera:554/s@1",
                Some("a"),
                Some("b"),
            ),
            (
                "rtsp://a:p@ss#w:d@camera/s?x=1",
                "rtsp://camera/s?x=1",
                Some("a"),
                Some("p@ss#w:d"),
            ),
            ("rtsp://a:p%40%2Fs%25@camera", "rtsp://camera", Some("a"), Some("p@/s%")),
            ("rtsps://a@camera/", "rtsps://camera/", Some("a"), None),
            (
                "rtsp://a:%4@[fe80::1]:554/",
                "rtsp://[fe80::1]:554/",
                Some("a"),
                Some("%4"),
            ),
        ] {
            let address = Address::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            let found = (address.user.as_deref(), address.password.as_ref().map(Secret::expose));
            assert_eq!(
                (address.location.as_str(), found),
                (location, (user, password)),
                "{text}"
            );
            assert!(password.is_none() || !format!("{address:?}").contains(password.unwrap_or_default()));
        }
        for text in [
            "http://camera",
            "camera",
            "rtsp://",
            "rtsp:///x",
            "rtsp://a:secret@/x",
            "file:///etc/passwd",
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(!error.contains("secret"), "{text}: {error}");
        }
    }
}
