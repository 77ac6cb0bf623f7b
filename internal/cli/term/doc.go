// Package term is what ipcctl writes to.
//
// An [Output] is a stream that may be a terminal. On a terminal, output is laid out for people, and nothing that came from elsewhere
// can control the terminal. Elsewhere it is tab-separated, and payloads pass byte for byte. What is written as it is has the type
// [Literal], of constants of ours; a string becomes one only where it is converted, and internal/archtest names these places.
//
// Beside it is what is written: tables, paragraphs, JSON, times and numbers in words. Nothing here knows what ipcctl does.
package term
