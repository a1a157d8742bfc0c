//! A kernel without a sampler, as Limine's template is: it prints that it is there, and halts.
//! Told otherwise, it is silent, is reset, or ends QEMU.

#![no_std]
#![no_main]

mod boot;
mod machine;

#[unsafe(no_mangle)]
extern "C" fn kmain() -> ! {
    match boot::case() {
        "silent" => machine::halt(),
        "reset" => machine::reset(),
        "off" => machine::switch_off(),
        "done" => machine::write_byte(0xf4, 0x10),
        _ => println!("template: hello"),
    }
    machine::halt()
}
