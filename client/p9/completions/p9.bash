# bash completion for p9:  source <(p9 completion bash)
_p9() {
    local lines
    mapfile -t lines < <("$1" completion -- candidates "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1)
    case ${lines[0]-} in
        :files) compopt -o default -o filenames; COMPREPLY=() ;;
        :programs) mapfile -t COMPREPLY < <(compgen -c -- "${COMP_WORDS[COMP_CWORD]}") ;;
        *) COMPREPLY=("${lines[@]}") ;;
    esac
}
complete -F _p9 p9
