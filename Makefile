# `make` alone lists the commands. ARGS is passed on, for example:
#   make run ARGS="--smp 16 --period 100"

out := $(or $(CARGO_TARGET_DIR),target)
# rustup's directory, for shells that did not read ~/.profile.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help install uninstall run test adopters header miri names exports page-test mutants stress stress-boot fuzz bench bench-perf iso limine lab qemu-pmu qemu-pmu-test lab-linux lab-strict build kernel setup setup-test lint clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 22

run: build ## boot the kernel in QEMU, profile it, show where the time went
	$(out)/release/pmiscope run $(ARGS)

test: kernel adopters lint ## lints, tests of all parts, model checks, tests in QEMU; Miri if it is there
	cargo test --locked --lib -p pmiscope-loader
	RUSTFLAGS="--cfg loom" cargo test --locked --release --lib -p pmiscope-profiler --target-dir $(out)/loom
	@$(MAKE) --no-print-directory miri
	@for program in clang llvm-objcopy llvm-dwp; do command -v $$program >/dev/null || \
		echo "test: skipped, there is no $$program: debug information as it writes it"; done
	cargo test --locked $(ARGS)

# Left out here: two tests of thousands of cases, which take Miri minutes.
miri:
	@if cargo +nightly miri --version >/dev/null 2>&1; then set -x; \
		PROPTEST_CASES=4 MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --locked --lib -p pmiscope-profiler \
			--target-dir $(out)/miri -- --skip over_random_memory --skip a_write_nested_at_any_point; \
	else echo "miri: skipped, there is no nightly toolchain with the component miri"; fi

page-test: setup-test ## drive the page of a profile in headless Chromium (make test does where that is installed)
	@tools/setup.sh page
	PMISCOPE_CHROMIUM=required cargo test --locked -p pmiscope --test host -- page:: $(ARGS)

mutants: setup-test qemu-pmu ## break the code in known places: a test must fail for each (ARGS: names of some)
	tools/mutants.sh $(ARGS)

names: build adopters ## compare the names of all functions of some files, a Debian kernel among them, with binutils' and LLVM's
	@tools/setup.sh names
	files=$$(tools/names.sh $(abspath $(out))) && PMISCOPE_NAMES="$$files" \
		cargo test --locked --release -p pmiscope --test names -- --ignored --nocapture $(ARGS)

exports: build ## let speedscope's importer, Perfetto's schema and stock perf read the exports of a run
	@tools/exports/check.sh $(abspath $(out))

stress: setup-test kernel ## what takes long: 34 million samples of storms, every chain of 315 million instructions, a million by counters; fuzzing
	cargo test --locked --release -p pmiscope --test guest -- --ignored --nocapture stress::
	@$(MAKE) --no-print-directory fuzz ARGS=

stress-boot: build ## hundreds of boots, each on a machine of its own, drawn from a seed (LIMINE_DIR: also by stock Limine; ARGS="--times 500 --seed 1")
	@tools/setup.sh stress
	tools/stress-boot.sh $(abspath $(out)) "$(LIMINE_DIR)" $(or $(ARGS),--times 500)

fuzz: ## look for bytes from outside that break something, a minute each target (ARGS: seconds, targets)
	@tools/setup.sh fuzz
	tools/fuzz.sh $(ARGS)

bench: kernel qemu-pmu ## the figures that a sample, a file and a report are to have; steps of the library and the tool; views of 10 M samples
	@tools/setup.sh bench
	cargo bench --locked --bench figures --bench path --bench guest --bench host --bench views $(ARGS)

bench-perf: kernel qemu-pmu ## measure a sample of the same code by Linux's perf and by pmiscope; many minutes
	@tools/qemu-pmu/linux/image.sh
	cargo bench --locked -p pmiscope --bench perf

iso: limine build ## a BIOS and UEFI image: make iso LIMINE_DIR=an unpacked release of Limine 7 or 8 [MODULES=files]
	@tools/setup.sh iso
	@tools/iso.sh "$(LIMINE_DIR)" $(out)/x86_64-unknown-none/release/kernel $(out)/pmiscope.iso limine.cfg $(MODULES)

limine:
	@tools/iso.sh "$(LIMINE_DIR)"

lab: setup-test qemu-pmu-test adopters ## what needs a PMU: that emulator's own tests, then ours on it
	PMISCOPE_LAB=required cargo test --locked -p pmiscope --test guest -- \
		pmu:: apic:: ctl:: truth:: adopter:: awkward:: clocks:: machines:: $(ARGS)
	PMISCOPE_LAB=required cargo test --locked -p pmiscope --test guest -- machines:: --ignored $(ARGS)
	@$(MAKE) --no-print-directory lab-strict

takes_the_timers_nmis = falls_to_the_timer chains_are_those_of_the_same anothers_landing right_behind_the_landing
adopters_by_counters = shares_by_counters counters_are_paused changed_while_it_runs leftover::
on_strict_lab = XDG_CACHE_HOME=$$cache PMISCOPE_LAB=required cargo test --locked -p pmiscope --test guest -- \
	pmu:: ctl:: truth:: awkward:: $(adopters_by_counters) \
	$(takes_the_timers_nmis:%=--skip %)

# On devices that are as strict as the manuals. Left out is what takes the APIC's timer as an
# NMI, which such a one is not: periods of 1, aims, NMIs on a landing at a known pass. Tests
# of xAPICs are of the first alone; of none those on the stock QEMU, and those of machines and
# clocks, which have devices of their own.
lab-strict: setup-test kernel adopters qemu-pmu ## the same with devices that are as strict as the manuals, by both kinds of APIC
	cache=$$(tools/qemu-pmu/strict.sh xapic) && $(on_strict_lab) apic:: $(ARGS)
	cache=$$(tools/qemu-pmu/strict.sh x2apic) && $(on_strict_lab) $(ARGS)

qemu-pmu: ## build an emulator that has a PMU, into the user's cache (once; minutes)
	@tools/qemu-pmu/build.sh

qemu-pmu-test: kernel qemu-pmu ## compare that PMU with code of known length
	@tools/qemu-pmu/test.sh $(out)/x86_64-unknown-none/release

lab-linux: kernel qemu-pmu ## let Linux judge that PMU, by its own driver, perf and perf's tests; minutes
	@tools/qemu-pmu/linux/test.sh $(out)/x86_64-unknown-none/release $(ARGS)

build: kernel ## the kernel, its loader and the host tool
	cargo build --locked --release -p pmiscope

kernel: setup
	tools/freestanding.sh build

adopters: setup ## the small kernels that are not ours, and some of them so that they can be moved
	tools/adopters/build.sh
	tools/adopters/build.sh pie

header: ## make the header for C anew, profiler/c/pmiscope.h, from its source
	PMISCOPE_WRITE_HEADER=1 cargo test --locked --quiet -p pmiscope-c --test header header_is_what_the_source_says

PREFIX ?= /usr/local
install: build ## put tool, kernel, completions and man pages into a prefix: make install PREFIX=~/.local (DESTDIR for packages)
	@DESTDIR="$(DESTDIR)" tools/install.sh $(abspath $(out)) "$(PREFIX)"

uninstall: ## remove them again: make uninstall PREFIX=~/.local
	@DESTDIR="$(DESTDIR)" tools/install.sh --remove "$(PREFIX)"

setup: ## install what is missing (what builds does it first)
	@tools/setup.sh

setup-test:
	@tools/setup.sh test

# Without `--report`, an import upwards or a large circle fails.
lint: setup-test ## format, clippy and documentation (warnings are errors), imports between layers, glue of each kernel
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --lib --tests -p pmiscope-loader -- -D warnings
	tools/freestanding.sh clippy -- -D warnings
	for kernel in tools/adopters/*/Cargo.toml; do cargo fmt --check --manifest-path $$kernel || exit; done
	tools/adopters/build.sh clippy -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet
	cargo run --locked --quiet -p pmiscope-layers
	tools/adopters/glue-lines.sh

clean: ## remove what was built
	cargo clean
