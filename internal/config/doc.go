// Package config reads the daemon's configuration: one file of TOML, /etc/ipcd/ipcd.toml, and the drop-ins beside it,
// ipcd.conf.d/*.toml, which are read after it in lexical order. A later value replaces an earlier one, key by key.
//
// # One table
//
// [Config.tables] is the schema: a row for each key, with its bounds and the sentence that explains it. Decoding, the
// hints in error messages, [Changes], the annotated file in packaging/ipcd.toml and the manual page ipcd.toml(5) all come
// from it. To add a setting, add a field, its default and its row, and run
//
//	go test ./internal/config -update
//
// # Guarantees
//
//   - Every key has a default, so an empty file is a valid one. Only the path of a socket other than main must be given.
//   - Load returns a configuration that is valid as a whole, or none: a rejected file never takes effect by halves.
//   - All complaints are reported at once, each with its file and, where it is known for certain, its line. A key that
//     nobody knows is a complaint, because a limit with a typing error in its name would protect nobody.
//   - What Load costs is bounded by the bytes, names and files that a person could write, and it opens nothing but regular files
//     and the drop-in directory. It may wait all the same, for a file system that does not answer: who must not wait calls it in
//     a goroutine.
//   - What Load does depends on the files alone. Whether a group exists, or a path can be bound, is for the daemon to find
//     out: a file can so be checked on another machine than the one it is meant for.
//
// # Watching
//
// [Watch] tells when the files may have changed. It is a hint, never a verdict: it may call without any change, and the
// callee loads and compares. It misses nothing that happens to the files, to the directories they are in, or to symbolic
// links on the way to them; it does not notice that a directory further up is renamed while it still holds the files.
package config
