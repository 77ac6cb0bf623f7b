# Completion of ipcctl for bash. What there is to complete, ipcctl itself knows: see "ipcctl help completion".

_ipcctl() {
	local line=${COMP_LINE:0:COMP_POINT} words candidate cur strip
	read -ra words <<<"$line"
	[[ $line == *[[:space:]] ]] && words+=('')
	cur=${words[-1]}
	# What readline takes for words of their own stays on the command line.
	strip=
	[[ $COMP_WORDBREAKS == *[=:]* ]] && strip=${cur%"${cur##*[=:]}"}
	COMPREPLY=()
	while IFS= read -r candidate; do
		case $candidate in
		$'\tfiles')
			compopt -o filenames 2>/dev/null
			mapfile -t COMPREPLY < <(compgen -f -- "${cur#"$strip"}")
			;;
		$'\tcommand '*)
			if declare -F _command_offset >/dev/null; then
				_command_offset "${candidate##* }"
			else
				mapfile -t COMPREPLY < <(compgen -c -- "$cur"; compgen -f -- "$cur")
			fi
			;;
		*)
			candidate=${candidate%%$'\t'*}
			[[ $candidate == *= ]] && compopt -o nospace 2>/dev/null # its value comes next
			printf -v candidate %q "${candidate#"$strip"}"
			COMPREPLY+=("$candidate")
			;;
		esac
	done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
}

complete -F _ipcctl ipcctl
