//! Files of `/sys/devices/system` as they were seen on a machine, in a short form.
//!
//! Each line is `PATH=CONTENT`. With `{LIST}` in the path it stands for many files, one for each number N of the list; `{}` in
//! the content is then N, `{+M}` and `{-M}` are the numbers M above and below it. `allowed` is no file: these are the
//! processors that the process may run on.

use std::collections::HashMap;

use wg_sched::Topology;
use wg_sys_linux::topology::parse;

pub(crate) struct Tree {
    pub(crate) files: HashMap<String, String>,
    pub(crate) allowed: Vec<u32>,
}

impl Tree {
    pub(crate) fn read(text: &str) -> Self {
        let mut files = HashMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (path, content) = line.split_once('=').expect(line);
            match path.split_once('{') {
                None => drop(files.insert(path.to_owned(), format!("{content}\n"))),
                Some((before, rest)) => {
                    let (list, behind) = rest.split_once('}').expect(line);
                    for number in numbers(list) {
                        files.insert(
                            format!("{before}{number}{behind}"),
                            format!("{}\n", fill(content, number)),
                        );
                    }
                }
            }
        }
        let allowed = files.remove("allowed").map_or_else(Vec::new, |list| numbers(list.trim()));
        Self { files, allowed }
    }

    pub(crate) fn topology(&self) -> Topology {
        parse(|name| self.files.get(name).cloned(), &self.allowed)
    }
}

fn numbers(list: &str) -> Vec<u32> {
    let number = |text: &str| text.parse::<u32>().expect(text);
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(part)..=number(part),
    };
    list.split(',').flat_map(range).collect()
}

fn fill(content: &str, number: u32) -> String {
    let mut parts = content.split('{');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (offset, behind) = part.split_once('}').expect(content);
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().expect(content) };
        filled += &format!("{}{behind}", number.checked_add_signed(offset).expect(content));
    }
    filled
}
