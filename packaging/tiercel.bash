# SPDX-License-Identifier: Apache-2.0
# Completion of tiercel(1) for bash: verbs from `tiercel --help`, options from `tiercel VERB --help`.
_tiercel()
{
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb=${COMP_WORDS[1]} i
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(tiercel --help | sed -n 's/^  \([a-z]*\) .*/\1/p') --help --version" -- "$cur")
        return
    fi
    if [ "$verb" = run ]; then # behind --, or behind the first word that is no option, the command's own words follow
        for ((i = 2; i < COMP_CWORD; i++)); do
            [ "${COMP_WORDS[i]}" = -- ] || continue
            _command_offset $((i + 1)) 2>/dev/null
            return
        done
    fi
    local verbs=("$verb") # with the verb of a verb
    if [ "$verb" = pool ] || [ "$verb" = cont ]; then
        if [ "$COMP_CWORD" -eq 2 ]; then
            mapfile -t COMPREPLY < <(compgen -W "$(tiercel "$verb" --help | sed -n 's/^  \([a-z]*\) .*/\1/p')" -- "$cur")
            return
        fi
        verbs+=("${COMP_WORDS[2]}")
    fi
    case $prev in
    snap) mapfile -t COMPREPLY < <(compgen -W "create list destroy" -- "$cur") ;;
    timeline) mapfile -t COMPREPLY < <(compgen -W "start stop save" -- "$cur") ;;
    tree) mapfile -t COMPREPLY < <(compgen -W "fill list remove" -- "$cur") ;;
    --hostfile | -f | --topology | --cache | -c | --runtime | --from | --to) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
    --roots | --arity) mapfile -t COMPREPLY < <(compgen -W "auto" -- "$cur") ;;
    --bulk) mapfile -t COMPREPLY < <(compgen -W "auto tcp" -- "$cur") ;;
    *)
        case $cur in
        -*) mapfile -t COMPREPLY < <(compgen -W "$(tiercel "${verbs[@]}" --help | grep -o -- '--[a-z-]*')" -- "$cur") ;;
        *) compopt -o filenames && mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        esac
        ;;
    esac
}
complete -F _tiercel tiercel
