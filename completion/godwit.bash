# SPDX-License-Identifier: Apache-2.0
# bash completion for godwit(1); installed as bash-completion/completions/godwit

_godwit_machines() {
    local dir=${_godwit_run_dir:-${XDG_RUNTIME_DIR:+$XDG_RUNTIME_DIR/godwit}}
    local path
    for path in "${dir:-/run/godwit}"/*/; do
        [ -d "$path" ] && basename "$path"
    done
}

_godwit() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
    local verbs="run receive migrate list status console stop remove log explain reclaim cpu"
    local machine="--name --disk --net --serial --memory-backing --dirty-tracking --detach --help"
    local verb='' _godwit_run_dir='' i named=0 wants=''
    COMPREPLY=()

    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --run-dir) _godwit_run_dir=${COMP_WORDS[++i]} ;;
        -*) ;;
        *) if [ -z "$verb" ]; then verb=${COMP_WORDS[i]}; else named=1; fi ;;
        esac
    done

    case $prev in
    --kernel|--firmware|--initrd|--disk|--svg|--device)
        compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --run-dir)
        compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --serial) COMPREPLY=($(compgen -W "stdio unix: file:" -- "$cur")); return ;;
    --net) COMPREPLY=($(compgen -W "tap tap: user socket:" -- "$cur")); return ;;
    --clock) COMPREPLY=($(compgen -W "host instructions" -- "$cur")); return ;;
    --cpus) COMPREPLY=($(compgen -W "1 2 4 8" -- "$cur")); return ;;
    --memory) COMPREPLY=($(compgen -W "256M 512M 1G 2G" -- "$cur")); return ;;
    --memory-backing) COMPREPLY=($(compgen -W "memfd anonymous hugetlb hugetlb:1G file: memfd,populate" -- "$cur")); return ;;
    --machine) COMPREPLY=($(compgen -W "riscv-virt microvm" -- "$cur")); return ;;
    --dirty-tracking) COMPREPLY=($(compgen -W "auto bitmap ring" -- "$cur")); return ;;
    --check|--cpu)
        compopt -o filenames
        COMPREPLY=($(compgen -W "host x86-64 x86-64-v2 x86-64-v3 x86-64-v4" -- "$cur") $(compgen -f -X '!*.json' -- "$cur"))
        return ;;
    --name|--append|--seed|--downtime-limit|--deadline|--max-bandwidth|--timeout) return ;;
    esac

    case $verb in
    '') wants="$verbs help --run-dir --version --help" ;;
    help) [ $named = 1 ] || wants="$verbs" ;;
    run) wants="$machine --kernel --firmware --initrd --append --memory --machine --cpus --cpu --clock --seed --no-vmclock --paused" ;;
    receive) wants="$machine tcp: unix: fd: exec:" ;;
    migrate)
        wants="--downtime-limit --deadline --max-bandwidth --verify --keep --json --help"
        if [ $named = 1 ]; then wants="$wants tcp: unix: fd: exec:"; else wants="$wants $(_godwit_machines)"; fi ;;
    list) wants="--json --help" ;;
    status|log) wants="--json --help $(_godwit_machines)" ;;
    console) wants="--help $(_godwit_machines)" ;;
    stop) wants="--force --timeout --help $(_godwit_machines)" ;;
    remove) wants="--ended --help $(_godwit_machines)" ;;
    explain) wants="--svg --help $(_godwit_machines)" ;;
    reclaim) wants="--fenced --help $(_godwit_machines)" ;;
    cpu)
        wants="--common --check --features --json --device --help"
        if [ $named = 1 ] || [[ " ${COMP_WORDS[*]} " == *" --common "* ]]; then
            compopt -o filenames; COMPREPLY=($(compgen -f -X '!*.json' -- "$cur")); [[ $cur == -* ]] || return
        fi ;;
    esac
    COMPREPLY=($(compgen -W "$wants" -- "$cur"))
    [[ ${COMPREPLY[0]} == *: ]] && compopt -o nospace
}
complete -F _godwit godwit
