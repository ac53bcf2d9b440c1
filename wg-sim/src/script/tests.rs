use super::*;
use crate::draw::Draw;

#[test]
fn text_form_is_read_back() {
    for seed in 0..50 {
        let script = Script::random(seed, Profile::Everything, 200);
        assert_eq!(Script::parse(&script.to_string()).as_ref(), Ok(&script));
    }
}

#[test]
fn lines_that_are_wrong_are_named() {
    let error = |text: &str| Script::parse(text).unwrap_err().line;
    assert_eq!(error("seed 1\nnodes peer peer\nsned 0 1 1 1\n"), 3);
    assert_eq!(error("nodes peer peer\nsend 0 1 1\n"), 2, "too few");
    assert_eq!(error("nodes peer peer\nheal 1\n"), 2, "too many");
    assert_eq!(error("nodes peer peer\nlink 0 1 fire 1\n"), 2);
    assert_eq!(error("nodes peer peer\nsend 256 1 1 1\n"), 2);
    assert_eq!(error("nodes peer moon\n"), 1);
    assert_eq!(error("seed x\nnodes peer peer\n"), 1);
    assert_eq!(error("nodes peer\n"), 0, "one is not enough");
    assert_eq!(Script::parse("# nothing\n\n nodes peer peer # two\n").unwrap().ops, []);
}

#[test]
fn any_bytes_are_a_script_and_its_bytes_are_the_same_script() {
    let mut draw = Draw::new(1);
    for len in 0..400 {
        let mut bytes = vec![0; len];
        draw.fill(&mut bytes);
        let script = Script::from_bytes(&bytes);
        assert!(script.ops.len() <= 256 && script.nodes.len() >= 2);
        assert_eq!(Script::parse(&script.to_string()).as_ref(), Ok(&script), "its text is one too");
        assert_eq!(Script::from_bytes(&script.to_bytes()), script, "{len} bytes");
    }
}

#[test]
fn every_kind_of_operation_is_drawn() {
    let mut names = std::collections::BTreeSet::new();
    for seed in 0..100 {
        names.extend(Script::random(seed, Profile::Everything, 300).ops.iter().map(Op::name));
    }
    // What must happen soon is not drawn, nor is a host's wish for a handshake: traffic is.
    let missing = ["reach", "settle", "initiate"];
    assert!(missing.iter().all(|name| !names.contains(name)));
    assert_eq!(names.len() + missing.len(), Op::KINDS);
}

#[test]
fn simpler_operations_come_to_an_end() {
    for seed in 0..20 {
        for mut op in Script::random(seed, Profile::Everything, 100).ops {
            let mut steps = 0;
            while let Some(simpler) = op.simpler().first().copied() {
                op = simpler;
                steps += 1;
                assert!(steps < 100, "{op}");
            }
        }
    }
}
