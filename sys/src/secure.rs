//! Rights that a program has and its caller may lack.

/// Whether this program runs with rights that its caller did not have (set-user-id, file
/// capabilities): its environment is then a stranger's word.
#[must_use]
pub fn raised_rights() -> bool {
    // SAFETY: getauxval only reads what the kernel left for this process.
    let value = unsafe { libc::getauxval(libc::AT_SECURE) };
    value != 0
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_ordinary_program_has_no_raised_rights() {
        assert!(!super::raised_rights());
    }
}
