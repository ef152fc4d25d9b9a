//! What `/proc/cpuinfo` says, on x86-64 and on ARM.
//!
//! Owns the names of ARM cores by implementer and part, which the kernel gives as numbers (MIDR_EL1 of the Arm
//! Architecture Reference Manual; the numbers as Linux names them in `arch/arm64/include/asm/cputype.h`).

/// The name of the first processor; none when the text does not tell.
pub(super) fn name(cpuinfo: &str) -> Option<String> {
    if let Some(name) = field(cpuinfo, "model name").filter(|name| !name.is_empty()) {
        return Some(String::from(name));
    }
    let implementer = number(field(cpuinfo, "CPU implementer")?)?;
    let part = number(field(cpuinfo, "CPU part")?)?;
    let variant = field(cpuinfo, "CPU variant").and_then(number);
    let revision = field(cpuinfo, "CPU revision").and_then(|text| text.parse::<u32>().ok());
    let name = arm(implementer, part).map_or_else(
        || format!("ARM implementer {implementer:#04x} part {part:#05x}"),
        String::from,
    );
    Some(match (variant, revision) {
        (Some(variant), Some(revision)) => format!("{name} r{variant}p{revision}"),
        _ => name,
    })
}

/// Whether it is a virtual one. The flag is there on x86 only; ARM does not tell.
pub(super) fn hypervisor(cpuinfo: &str) -> Option<bool> {
    let flags = field(cpuinfo, "flags")?;
    Some(flags.split(' ').any(|flag| flag == "hypervisor"))
}

/// How many processors are listed; none when there are none.
pub(super) fn count(cpuinfo: &str) -> Option<usize> {
    let count = { cpuinfo.lines() }
        .filter(|line| line.split(':').next().is_some_and(|name| name.trim() == "processor"))
        .count();
    (0 < count).then_some(count)
}

/// The first field of this name.
fn field<'t>(cpuinfo: &'t str, wanted: &str) -> Option<&'t str> {
    cpuinfo.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == wanted).then(|| value.trim())
    })
}

fn number(text: &str) -> Option<u32> {
    u32::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}

fn arm(implementer: u32, part: u32) -> Option<&'static str> {
    let name = match (implementer, part) {
        (0x41, 0xd03) => "ARM Cortex-A53",
        (0x41, 0xd05) => "ARM Cortex-A55",
        (0x41, 0xd07) => "ARM Cortex-A57",
        (0x41, 0xd08) => "ARM Cortex-A72",
        (0x41, 0xd0b) => "ARM Cortex-A76",
        (0x41, 0xd0c) => "ARM Neoverse-N1",
        (0x41, 0xd40) => "ARM Neoverse-V1",
        (0x41, 0xd49) => "ARM Neoverse-N2",
        (0x41, 0xd4f) => "ARM Neoverse-V2",
        (0x41, 0xd84) => "ARM Neoverse-V3",
        (0x41, 0xd8e) => "ARM Neoverse-N3",
        (0x43, 0x0af) => "Cavium ThunderX2",
        (0x48, 0xd01) => "HiSilicon Kunpeng-920",
        (0xc0, 0xac3) => "Ampere-1",
        (0xc0, 0xac4) => "Ampere-1a",
        _ => return None,
    };
    Some(name)
}
