// Package loop is what one thread waits with and is woken by: descriptors, times, and functions that other goroutines post. It knows
// nothing of what these mean. Who owns a loop makes turns of it:
//
//	events, err := l.Wait(true)    // blocks until there is something to do
//	l.Dispatch(events)             // descriptors that are ready, and what was posted
//	l.RunTimers(share)             // what is due
//	l.Clock.EndTurn()
//
// # Descriptors
//
// All descriptors are in one epoll set. Each is of a [Kind], which is registered once together with its handler ([Loop.Handle]). That
// is all there is to a new kind of descriptor: no list of kinds has to know it. The kind stands in what the kernel gives back with an
// event, so to find the handler is an index into a table, and a connection costs no memory for it.
//
// A turn takes all events that there are, also if they are more than the kernel tells at once. Handlers are called one after the
// other. One may be called for a descriptor that another has removed or closed in the same turn. It must know, and a descriptor
// must not be used anew before the turn ends: close it when all events are handled.
//
// # Waiting
//
// While traffic is dense the loop polls for a while before it blocks, if that pays (BusyPoll): it finds out by trying. When it blocks
// it does so without telling the Go runtime, which would cost more than the whole request, but wakes up often enough that the
// runtime does not have to look for it. When nothing happens for a while it waits as others do, and uses no processor time. When there
// is more to do than a turn has time for it does not wait, and lets other goroutines run between two turns, the garbage collector among
// them: it is not locked to a thread, or each time would take two changes of threads.
//
// # Time
//
// The [Clock] is CLOCK_BOOTTIME. It goes on while the machine is suspended, is never set, and never goes back. Its Now is one time for
// all of a turn.
//
// # Timers
//
// A deadline is a [Timer], which belongs to what has it: the wait that ends, the connection that is given a moment, the file that is
// written again. It is a value in its owner and is set, set again and stopped there, and nowhere else is anything known of it. All
// that are set form one heap ([Timers]), so to set or stop one costs a handful of comparisons however many there are, allocates
// nothing, and costs nothing at all if it is what it was. The loop asks only when the first is due.
//
// Timers go off in the order of their times, and those of one moment in the order in which they were set; never before their time,
// and as late as the loop is. A turn of the loop gives them a share of its time: what is due beyond that is due in the next turn,
// before anything that becomes due meanwhile. At least one goes off in each, so none waits for ever. One that has more to do than a
// turn should take does some of it and sets itself again; it then stands behind the others that are due. So nobody can hold up the
// connections, and no timer the others. Nothing bounds what one timer does when it goes off: that is for its owner.
//
// # Other goroutines
//
// [Loop.Post] has a function run in the next turn. It is how results come back of what may block, as nothing in a turn may. To close
// what a peer has sent may block, too, and has a [Closer], with a goroutine for each user who needs one.
package loop
