"""A small shop: orders in streams, and a read model in SQLite that a projection keeps and rebuilds, and a web API serves.

    cd examples
    python -m orders trade shop.db                            # customers come, buy, pay, and change their minds
    python -m orders project shop.db orders.db                # follows the store until Ctrl-C: trade on meanwhile
    python -m orders rebuild shop.db orders.db                # after a change of read_model.py; readers notice nothing
    ORDERS_DB=orders.db uvicorn orders.api:api                # then look at /docs

``commands.py`` is the writing side: it knows the rules, and streams. ``read_model.py`` is the reading side: it knows tables, and believes the events.
``api.py`` serves the tables. The events are all that the two sides share:

| event | data, amounts in cents |
| --- | --- |
| ``OrderPlaced`` | ``customer``; ``lines``, each with ``sku``, ``quantity`` and ``price`` |
| ``OrderPaid`` | ``amount`` |
| ``OrderShipped`` | ``parcel`` |
| ``OrderCancelled`` | ``refund``: what had been paid |

The events of an order are in the stream ``order-<number>``. Kill any of these processes at any moment and start it again: the tables are what the events
say, each of them exactly once. The tests of this example do just that.
"""
