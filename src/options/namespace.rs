//! Names of namespaces.

/// The longest name of a namespace, in bytes: it goes before every key.
const NAMESPACE_MAX: usize = 64;

/// The name of a namespace: what may stand in a hash tag and means itself in a pattern.
pub fn name(value: &str) -> Result<Option<String>, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-/@+=".contains(&byte);
    if value.len() > NAMESPACE_MAX {
        return Err(format!("is longer than {NAMESPACE_MAX} bytes"));
    }
    match value.bytes().all(is_plain) {
        true => Ok(Some(value.to_string()).filter(|name| !name.is_empty())),
        false => Err("must be letters, digits and any of . _ : - / @ + =".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_a_hash_tag_may_have() {
        for good in ["jobs", "a.b_c:d-e/f@g+h=1", &"x".repeat(64)] {
            assert_eq!(name(good), Ok(Some(good.to_string())));
        }
        assert_eq!(name(""), Ok(None));
        for bad in [
            "a}b",
            "{a",
            "a*",
            "a b",
            "a\n",
            "a?",
            "[a]",
            "é",
            &"x".repeat(65),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }
}
