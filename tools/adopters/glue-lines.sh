#!/bin/sh
# Counts the lines that a kernel has for the sampler's sake, and fails where they are more
# than anybody should have to write:
#
#   src/profiling.rs or .c    all lines but blank ones and comments
#   all other files           lines that end in a comment which begins with "pmiscope"
#
# usage: tools/adopters/glue-lines.sh
set -eu
cd "$(dirname "$0")/../.."

# Lines of code in a file of Rust or C.
code() {
    awk '
        { line = $0; sub(/^[ \t]+/, "", line) }
        in_comment { if (index(line, "*/")) in_comment = 0; next }
        line == "" || line ~ /^\/\// { next }
        line ~ /^\/\*/ { if (!index(line, "*/")) in_comment = 1; next }
        { count++ }
        END { print count + 0 }
    ' "$1"
}

# Marked lines: "// pmiscope", "# pmiscope: why", "/* pmiscope */".
marked() {
    find "$1" -type f ! -path '*/target/*' ! -name 'profiling.*' ! -name Cargo.lock -exec \
        grep -hE '[^ ].*(//|#|/\*) pmiscope(:.*)?( \*/)?$' {} + | wc -l
}

failed=0
check() { # folder, most lines, language
    file=$1/src/profiling.${3:-rs}
    if [ ! -f "$file" ]; then
        echo "glue-lines: $file: not there" >&2
        failed=1
        return
    fi
    own=$(code "$file")
    others=$(marked "$1")
    echo "$1: $((own + others)) lines of at most $2 ($own in ${file#"$1/"}, $others elsewhere)"
    [ $((own + others)) -le "$2" ] || failed=1
}

check tools/adopters/rust-smp 64
check tools/adopters/rust-irq 33
check tools/adopters/rust-pvh 60
check tools/adopters/rust-tasks 60
check tools/adopters/c-limine 46 c
check tools/adopters/c-multiboot2 45 c
check kernel 240
exit "$failed"
