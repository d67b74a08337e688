_kdir() {
    local words=("${COMP_WORDS[@]}")
    # What stands behind the cursor in its word is not to be completed; of a lone = or : nothing is in $2.
    [[ ${words[COMP_CWORD]} == [=:] ]] || words[COMP_CWORD]=$2
    mapfile -t COMPREPLY < <(KDIR_COMPLETE=bash _CLAP_COMPLETE_INDEX=$COMP_CWORD kdir -- "${words[@]}" 2>/dev/null)
    [[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *[=/] ]] || compopt -o nospace 2>/dev/null
}
complete -o bashdefault -o nosort -F _kdir kdir
