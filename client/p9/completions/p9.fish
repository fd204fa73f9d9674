# fish completion for p9:  p9 completion fish | source
function __p9_candidates
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (p9 completion -- candidates $words[2..] 2>/dev/null)
    switch "$lines[1]"
        case ':files*'
            __fish_complete_path (commandline -ct)
        case ':programs*'
            __fish_complete_command
        case '*'
            printf '%s\n' $lines
    end
end
complete -c p9 -f -a '(__p9_candidates)'
