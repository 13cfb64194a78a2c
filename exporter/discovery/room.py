"""Room for so much at the same time, which one can try to enter or wait for."""

import asyncio
import collections


class Room:
    """Places for `places` who want in; whoever finds none waits for his turn, in the order of asking."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()

    def try_enter(self) -> bool:
        """Take a place if there is one; each needs a `leave`."""
        if not self._free:  # else nobody waits
            return False
        self._free -= 1
        return True

    async def enter(self) -> None:
        """Wait for a place; each needs a `leave`."""
        if self.try_enter():
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:  # cancelled, or closed
            if turn in self._waiting:
                self._waiting.remove(turn)
            else:  # the place was given just before
                self.leave()
            raise

    def leave(self) -> None:
        """Give a place up, to who has waited longest."""
        for turn in self._waiting:
            if not turn.done():
                self._waiting.remove(turn)
                turn.set_result(None)
                return
        self._free += 1
