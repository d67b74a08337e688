//! What a mistyped name was meant to be.

/// The candidate that looks most like `word`, if it looks much like it: one slip, and one more for every four letters.
pub(super) fn nearest<T: AsRef<str>>(word: &str, candidates: impl Iterator<Item = T>) -> Option<T> {
    let distance = |candidate: &T| strsim::osa_distance(word, candidate.as_ref());
    let (distance, candidate) = candidates.map(|it| (distance(&it), it)).min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + word.chars().count() / 4).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_looks_much_like_it_and_nothing_else() {
        let names = ["orders", "orders-eu", "app", "retention.ms"];
        for (word, expected) in [
            ("oders", Some("orders")),
            ("odrers", Some("orders")),
            ("orders_eu", Some("orders-eu")),
            ("ap", Some("app")),
            ("retention", Some("retention.ms")),
            ("retain", None),
            ("retention_ms", Some("retention.ms")),
            ("web", None),
        ] {
            assert_eq!(nearest(word, names.into_iter()), expected, "{word}");
        }
        assert_eq!(nearest("x", std::iter::empty::<&str>()), None);
    }
}
