//! The template of an application and its image. Without an image builder, the instructions of the Dockerfile are executed here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home;
use crate::instructions::{fresh, in_target, with_locked_versions};
use crate::program::{self, Server, free_address};

const NAME: &str = "pond-chat";

/// Generates an application of this name from the template, beside the clone.
fn generated() -> PathBuf {
    let (template, project) = (home().join("templates/chat"), fresh(NAME));
    fs::create_dir_all(project.join("src")).expect("a folder");
    for folder in ["", "src"] {
        for entry in fs::read_dir(template.join(folder)).expect("the template") {
            let file = entry.expect("a file").path();
            if file.is_file() {
                let text = fs::read_to_string(&file).expect("a text").replace("{{project-name}}", NAME);
                let name = file.file_name().expect("a name");
                fs::write(project.join(folder).join(name), text).expect("a file");
            }
        }
    }
    with_locked_versions(&project);
    project
}

/// The arguments of an instruction in the last stage of a Dockerfile.
fn instruction(dockerfile: &str, word: &str) -> String {
    let last = dockerfile.rsplit("\nFROM ").next().expect("a stage");
    let line = last.lines().find_map(|line| line.strip_prefix(word));
    line.unwrap_or_else(|| panic!("the image has no {word}")).trim().to_owned()
}

/// The words of a command in its exec form.
fn exec(command: &str) -> Vec<String> {
    let list = command.split_once('[').and_then(|(_, rest)| rest.split_once(']')).expect("the exec form").0;
    list.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect()
}

/// Copies a program into a root directory, with its libraries. Only the libraries of a minimal image are allowed.
fn install(program: &Path, root: &Path, name: &str) {
    fs::create_dir_all(root).expect("a root");
    fs::copy(program, root.join(name)).expect("the program");
    for line in program::output(Command::new("ldd").arg(program)).lines() {
        let Some(library) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
        let known = ["libc.so", "libgcc_s.so", "libm.so", "libdl.so", "libpthread.so", "ld-linux"];
        assert!(known.iter().any(|known| library.contains(known)), "the image has no {library}");
        let to = root.join(&library[1..]);
        fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        fs::copy(library, to).expect("the library");
    }
}

#[test]
#[ignore = "builds a project, and needs root: ./test book"]
fn the_image_of_the_template_serves_and_is_healthy_and_drains() {
    let project = generated();
    let dockerfile = fs::read_to_string(project.join("Dockerfile")).expect("a Dockerfile");
    let build = dockerfile.lines().find_map(|line| line.strip_prefix("RUN ")).expect("a build");
    // The lock file is generated first, as in a new application; and without optimization, which takes minutes.
    program::output(in_target(Command::new("cargo").arg("generate-lockfile").arg("--offline")).current_dir(&project));
    let build = build.replace("--release ", "");
    program::output(in_target(Command::new("bash").args(["-euc", &build])).current_dir(&project));

    let copied = instruction(&dockerfile, "COPY --from=build ");
    let (from, to) = copied.split_once(' ').expect("from and to");
    let from = from.replace("/src/app/target/release", &crate::target().join("instructions/debug").to_string_lossy());
    let root = fresh("image");
    install(Path::new(&from), &root, to.trim_start_matches('/'));

    let user = instruction(&dockerfile, "USER ");
    assert!(!user.starts_with('0') && !user.starts_with("root"), "it runs as {user}");
    let (variable, value) = instruction(&dockerfile, "ENV ").split_once('=').map(own).expect("a variable");
    let port = instruction(&dockerfile, "EXPOSE ");
    assert_eq!(value, format!("0.0.0.0:{port}"), "it listens where the image says");
    let address = free_address();
    let in_image = |words: &[String]| {
        let mut command = Command::new("chroot");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin").env(&variable, &address);
        command.arg(format!("--userspec={user}")).arg(&root).args(words);
        command
    };
    let health = exec(&instruction(&dockerfile, "HEALTHCHECK "));
    assert!(
        !in_image(&health).output().expect("it runs").status.success(),
        "the health check passes before the server runs"
    );
    let mut server = Server::at(&address, &mut in_image(&exec(&instruction(&dockerfile, "ENTRYPOINT "))));
    program::output(&mut in_image(&health));
    assert_eq!(instruction(&dockerfile, "STOPSIGNAL "), "SIGTERM");
    server.terminate();
}

fn own((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}
