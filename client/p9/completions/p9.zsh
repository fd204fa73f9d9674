#compdef p9
# zsh completion for p9:  source <(p9 completion zsh)
_p9() {
    local -a lines found
    lines=("${(@f)$($words[1] completion -- candidates "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    case $lines[1] in
        :files*) _files ;;
        :programs*) _command_names -e ;;
        *)
            for line in $lines; do found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}"); done
            _describe p9 found ;;
    esac
}
compdef _p9 p9
