#compdef ipcctl
# Completion of ipcctl for zsh. What there is to complete, ipcctl itself knows: see "ipcctl help completion".

_ipcctl() {
	local line word
	local -a found valued
	for line in "${(@f)$(${(Q)words[1]} __complete -- "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
		case $line in
		($'\tfiles')
			compset -P '*='
			_files
			return
			;;
		($'\tcommand '*)
			shift "${line##* }" words
			(( CURRENT -= ${line##* } ))
			_normal
			return
			;;
		(?*)
			word=${line%%$'\t'*}
			if [[ $word == *= ]]; then
				valued+=("${word//:/\\:}:${line#*$'\t'}")
			else
				found+=("${word//:/\\:}:${line#*$'\t'}")
			fi
			;;
		esac
	done
	_describe -V ipcctl found -- valued -S '' # no space before a value
}

# Run by fpath's autoload it is the function itself; sourced, it has to be announced.
if [[ ${funcstack[1]} == _ipcctl ]]; then
	_ipcctl "$@"
else
	compdef _ipcctl ipcctl
fi
