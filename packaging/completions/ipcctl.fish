# Completion of ipcctl for fish. What there is to complete, ipcctl itself knows: see "ipcctl help completion".

function __ipcctl_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] __complete -- $words[2..] "$current" 2>/dev/null)
        switch $line
            case \tfiles
                set -l path (string replace -r '^--[^=]*=' '' -- "$current")
                __fish_complete_path "$path"
            case \tcommand\ \*
                set -l first (string replace -r '.* ' '' -- "$line")
                set -l rest (string escape -- $words[(math $first + 1)..] | string join ' ')
                complete -C "$rest $current"
            case '*'
                echo -- $line
        end
    end
end

complete -c ipcctl -f -a '(__ipcctl_complete)'
