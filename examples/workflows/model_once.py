"""Something that is expensive to make, made once for each worker and used by all its tasks."""

from parsl_pool import ParslPoolExecutor

model = None


def load_model(size):
    global model
    model = {number: number**2 for number in range(size)}


def predict(number):
    return model[number]


def main():
    with ParslPoolExecutor(2, initializer=load_model, initargs=(10_000,)) as pool:
        print(list(pool.map(predict, [3, 30, 300])))


if __name__ == "__main__":
    main()
