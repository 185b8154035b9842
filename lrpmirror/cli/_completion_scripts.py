"""Completion scripts for shells."""

from collections.abc import Iterable, Iterator

from lrpmirror.cli._completion_tree import Argument, Option, Subcommand, Tree

__all__ = ["bash", "fish", "zsh"]


def bash(tree: Tree) -> str:
    """Return a script for bash 4 and later, to be sourced."""
    values = [line for command in tree.commands for line in _bash_values(command)]
    words = [f"        {one.name}) words={_quoted(' '.join(_bash_words(one)))} ;;" for one in tree.commands]
    files = "|".join(one.name for one in tree.commands if any(argument.file for argument in one.arguments))
    top = " ".join([*(name for option in tree.options for name in option.names), *(one.name for one in tree.commands)])
    lines = [
        f"# Completion of {tree.prog} for bash: source it.",
        f"_{tree.prog}() {{",
        "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= words= i",
        # Bash takes --option=value for three words.
        "    if [[ $cur == = ]]; then",
        "        cur=",
        "    elif [[ $prev == = && COMP_CWORD -gt 2 ]]; then",
        "        prev=${COMP_WORDS[COMP_CWORD-2]}",
        "    fi",
        "    for ((i = 1; i < COMP_CWORD; i++)); do",
        "        if [[ ${COMP_WORDS[i]} != -* ]]; then",
        "            command=${COMP_WORDS[i]}",
        "            break",
        "        fi",
        "    done",
        "    COMPREPLY=()",
        '    case "$command $prev" in',
        *values,
        "    esac",
        "    case $command in",
        f"        '') words={_quoted(top)} ;;",
        *words,
        "    esac",
        '    COMPREPLY=($(compgen -W "$words" -- "$cur"))',
        *([f"    [[ $cur != -* ]] && case $command in {files}) compopt -o default ;; esac"] if files else []),
        "    return 0",
        "}",
        f"complete -F _{tree.prog} {tree.prog}",
    ]
    return "\n".join(lines) + "\n"


def _bash_words(command: Subcommand) -> list[str]:
    names = [name for option in command.options for name in option.names]
    return names + [choice for argument in command.arguments for choice in argument.choices]


def _bash_values(command: Subcommand) -> Iterator[str]:
    """Return a case for each option that takes a value."""
    for option in command.options:
        if option.value is None:
            continue
        pattern = "|".join(_quoted(f"{command.name} {name}") for name in option.names)
        if option.value.choices:
            choices = _quoted(" ".join(option.value.choices))
            yield f'        {pattern}) COMPREPLY=($(compgen -W {choices} -- "$cur")); return 0 ;;'
        elif option.value.file:
            yield f"        {pattern}) compopt -o default; return 0 ;;"
        else:
            yield f"        {pattern}) return 0 ;;"


def zsh(tree: Tree) -> str:
    """Return a script for zsh, to be found as `_lrpmirror` on its fpath, or sourced."""
    named = [f"        {_quoted(f'{_escaped(one.name)}:{one.help}')}" for one in tree.commands]
    cases: list[str] = []
    for command in tree.commands:
        specs = [f"                {spec}" for spec in _zsh_specs(command.options, command.arguments)]
        cases += [
            f"            {command.name})",
            "                _arguments -s \\",
            " \\\n".join(specs),
            "                ;;",
        ]
    lines = [
        f"#compdef {tree.prog}",
        f"_{tree.prog}() {{",
        "    local context state state_descr line",
        "    typeset -A opt_args",
        "    local -a commands=(",
        *named,
        "    )",
        "    _arguments -C \\",
        *(f"        {spec} \\" for spec in _zsh_specs(tree.options, ())),
        "        '1:command:->command' '*::argument:->argument'",
        "    case $state in",
        "        command) _describe command commands ;;",
        "        argument)",
        "            case $words[1] in",
        *cases,
        "            esac",
        "            ;;",
        "    esac",
        "}",
        # Sourced it says what it is for; found on the fpath it is called.
        f'if [[ $funcstack[1] == _{tree.prog} ]]; then _{tree.prog} "$@"; else compdef _{tree.prog} {tree.prog}; fi',
    ]
    return "\n".join(lines) + "\n"


def _zsh_specs(options: Iterable[Option], arguments: Iterable[Argument]) -> list[str]:
    specs: list[str] = []
    for option in options:
        # The same option in another spelling is not offered again, unless it may be given several times; that is rare.
        for name in option.names:
            value = "" if option.value is None else f":value:{_zsh_action(option.value)}"
            equals = "=" if option.value is not None and name.startswith("--") else ""
            specs.append(_quoted(f"*{name}{equals}[{_escaped(option.help)}]{value}"))
    for place, argument in enumerate(arguments, 1):
        specs.append(_quoted(f"{place}:{_escaped(argument.help)}:{_zsh_action(argument)}"))
    return specs


def _zsh_action(argument: Argument) -> str:
    if argument.choices:
        return f"({' '.join(argument.choices)})"
    return "_files" if argument.file else " "


def fish(tree: Tree) -> str:
    """Return a script for fish, to be found among its completions."""
    lines = [
        f"# Completion of {tree.prog} for fish.",
        f"complete -c {tree.prog} -f",
        *(_fish_option(tree.prog, "__fish_use_subcommand", option) for option in tree.options),
    ]
    for command in tree.commands:
        lines.append(
            f"complete -c {tree.prog} -n __fish_use_subcommand -a {_quoted(command.name)} -d {_fish(command.help)}"
        )
        here = f"__fish_seen_subcommand_from {command.name}"
        lines += [_fish_option(tree.prog, here, option) for option in command.options]
        lines += [_fish_argument(tree.prog, here, argument) for argument in command.arguments]
    return "\n".join(line for line in lines if line) + "\n"


def _fish_option(prog: str, condition: str, option: Option) -> str:
    names = [
        f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names if name.startswith("-")
    ]
    return f"complete -c {prog} -n '{condition}' {' '.join(names)}{_fish_value(option.value)} -d {_fish(option.help)}"


def _fish_argument(prog: str, condition: str, argument: Argument) -> str:
    value = _fish_value(argument).replace(" -x", "").replace(" -r", "")
    return f"complete -c {prog} -n '{condition}'{value} -d {_fish(argument.help)}" if value else ""


def _fish_value(value: Argument | None) -> str:
    if value is None:
        return ""
    if value.choices:
        return f" -x -a {_fish(' '.join(value.choices))}"
    return " -r -F" if value.file else " -x"


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _quoted(text: str) -> str:
    """Quote a text for bash and zsh."""
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"


def _escaped(text: str) -> str:
    """Escape what means something in zsh's descriptions."""
    for character in "\\[]:":
        text = text.replace(character, f"\\{character}")
    return text
