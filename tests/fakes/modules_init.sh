# Stands in for the init file of Lmod: defines `module`, which knows the files of $MODULEPATH by their names.
module() {
    if [ "$1" != load ] || [ ! -r "$MODULEPATH/$2" ]; then
        echo "Lmod has detected the following error: The following module(s) are unknown: \"$2\"" >&2
        return 1
    fi
    . "$MODULEPATH/$2"
}
