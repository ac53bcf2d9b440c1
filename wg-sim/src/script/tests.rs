use super::*;

#[test]
fn text_form_is_read_back() {
    for seed in 0..50 {
        let script = Script::random(seed, Profile::Everything, 200);
        assert_eq!(Script::parse(&script.to_string()).as_ref(), Ok(&script));
    }
}
