//! The agent goes and comes back; counting goes on.

use anyhow::{Result, ensure};
use homeport_tests::{
    agent::binary,
    campaign::{Progress, restart},
    lab::Host,
    scene::{Scene, scene},
    settings::Settings,
};

/// What is pinned, as names below the directory of pins.
fn pinned(directory: &std::path::Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory.join("links"))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[test]
fn programs_stay_attached_without_the_agent_and_cleanup_leaves_nothing_behind() {
    scene(&Settings::default(), |scene| {
        let pin_dir = scene.agent.pin_dir();
        let before = pinned(&pin_dir)?;
        ensure!(before.iter().any(|name| name == "account_egress"), "{before:?}");
        ensure!(before.iter().any(|name| name.starts_with("frames_ethernet-")), "{before:?}");

        let cleanup = |scene: &Scene| -> Result<(bool, String)> {
            let output = scene
                .lab
                .command(Host::Storage, binary()?)
                .args(["cleanup", "--config"])
                .arg(scene.agent.config_path())
                .output()?;
            let text = [output.stdout, output.stderr].concat();
            Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        };
        let (success, text) = cleanup(scene)?;
        ensure!(!success && text.contains(&format!("process {}", scene.agent.pid())), "{text}");

        scene.agent.kill()?;
        ensure!(pinned(&pin_dir)? == before);
        scene.agent.start_again(&scene.lab)?;
        ensure!(pinned(&pin_dir)? == before);
        scene.agent.stop()?;
        ensure!(pinned(&pin_dir)? == before);

        let (success, text) = cleanup(scene)?;
        ensure!(success && text.contains("account_egress"), "{text}");
        ensure!(!pin_dir.exists());
        Ok(())
    });
}

#[test]
fn whatever_happens_to_the_agent_each_byte_is_on_record_once() {
    let plan = restart::Plan { cycles: 10, seed: 0x5eed_cafe, other_build: None, resize: false };
    match restart::run(&plan, Progress::silent()) {
        Ok(report) => println!("{report}"),
        Err(error) => panic!("{error:#}"),
    }
}
