"""the network of TensorFlow's tutorial on convolutional nets, trained on an .npz of pictures; prints one line of JSON.

Three convolutions of 32, 64 and 64 channels with pooling between them, then 64 units: Adam, batches of 32, ten epochs,
a tenth of the training rows held out (tensorflow.org/tutorials/images/cnn; `validation_split` stands in for its use of
the test rows). Pixels are divided by 255; nothing else is done to them.

python benchmarks/peers/keras_tutorial.py rows.npz --seed 0    # x_train, y_train, x_test, y_test; uint8 and integers
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import layers

EPOCHS, BATCH, HELD_OUT = 10, 32, 0.1


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__)
    wanted.add_argument("rows")
    wanted.add_argument("--seed", type=int, default=0)
    wanted.add_argument("--epochs", type=int, default=EPOCHS)
    given = wanted.parse_args()
    keras.utils.set_random_seed(given.seed)
    with np.load(given.rows) as rows:
        x_train, x_test = rows["x_train"] / np.float32(255), rows["x_test"] / np.float32(255)
        y_train, y_test = rows["y_train"], rows["y_test"]
    network = keras.Sequential([
        layers.Input(x_train.shape[1:]),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(64, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(int(y_train.max()) + 1),
    ])  # fmt: skip
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
    begun = time.monotonic()
    told = network.fit(x_train, y_train, BATCH, given.epochs, verbose=0, validation_split=HELD_OUT)
    seconds = time.monotonic() - begun
    _, accuracy = network.evaluate(x_test, y_test, verbose=0)
    print(
        json.dumps(
            {
                "accuracy": accuracy,
                "validation": told.history["val_accuracy"][-1],
                "seconds": seconds,
                "parameters": network.count_params(),
                "keras": keras.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
