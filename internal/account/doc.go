// Package account says what each user of the daemon has of it, and how much of it he may have. A user is a uid: who opens a
// thousand connections has no more for it than who opens one.
//
// # Columns
//
// What is counted is a column: connections, bytes of buffers, locks. Each is one row of the table in column.go, with what is
// said to who wants more than its limit. A column may be a part of another one: a pattern is a subscription, too. What is
// charged to the part is charged to the whole, and there has to be room in both.
//
// # Charges
//
// What a user is charged for is a handle, a [Charge], which whatever costs something has with it and which knows whose it is
// and how much: it grows and shrinks with the thing, and is released when that ends. Nobody else subtracts.
//
// What an engine keeps, a claim to a lock or a subscription, is a handle already: it says whose it is and of which kind, for as
// long as it is there, and the engine tells of its beginning and its end. To keep a Charge beside each would take a second table
// of them all. So these are counted, by [User.Count], where that is told.
//
// # How long a user is remembered
//
// For as long as he has something: a charge, something that is counted, somebody in his queue, or time that he has had of the
// turn. Then he must be at zero in every column. If he is not, something was given back that was not charged, or under another
// name, and with [Book.Verify] that is a panic. What is never given back shows in another way: the server compares all columns
// with what there is, and [Book.Mismatch] names the first that differs.
//
// # Time
//
// Who acts says who pays: [User.Spend] is called with what it took. It counts for one turn of the loop. Those who have to wait
// for their user's share of a turn stand in his queue: see [Shares].
//
// The package has no clock, and is used by one goroutine.
package account
